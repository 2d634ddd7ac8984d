"""Judges: what is projected out of the tower's features, and what scores the rest."""
