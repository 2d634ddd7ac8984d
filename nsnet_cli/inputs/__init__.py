"""Inputs: find pictures in whatever they lie in, read them, say what they are, decode them."""
