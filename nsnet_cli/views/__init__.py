"""Views: what the network sees of a picture, and what a picture may go through before it is seen."""
