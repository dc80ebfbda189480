"""Data sets: `len(source)` and `source[i]`."""
