"""Views of the result document.  Nothing here analyses anything, or knows PyTorch."""
