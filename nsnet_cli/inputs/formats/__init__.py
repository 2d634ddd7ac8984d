"""Formats of pictures, or variants of them, that Pillow alone does not read, or reads only within its own bounds."""
