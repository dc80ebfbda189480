"""Generative networks, one family a file."""
