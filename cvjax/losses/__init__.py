"""Losses, one kind of problem a file."""
