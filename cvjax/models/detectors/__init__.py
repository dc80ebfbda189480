"""Detection networks, one family a file."""
