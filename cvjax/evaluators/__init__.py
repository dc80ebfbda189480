"""Procedures that need a whole data set."""
