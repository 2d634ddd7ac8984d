"""The tower: CLIP's image network, on NumPy and on PyTorch, from views to features."""
