"""Weights: the files that a detector is made of, where they lie and how they are read and written."""
