"""One loop and one step for every task."""
