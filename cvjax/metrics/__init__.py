"""Metrics that merge over batches and devices, one kind of problem a file."""
