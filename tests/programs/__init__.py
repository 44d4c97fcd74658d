"""Whole programs, each against a loop in NumPy."""
