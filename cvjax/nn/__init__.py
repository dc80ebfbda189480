"""Flax parts that two or more models share."""
