"""Honest measurement: labelled pictures, scores, figures by group, controls, one document."""
