"""The verdict: from a score to a probability, a threshold and a word."""
