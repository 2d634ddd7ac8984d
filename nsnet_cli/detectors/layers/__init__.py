"""What the networks of several detectors are built of."""
