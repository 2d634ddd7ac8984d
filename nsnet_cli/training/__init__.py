"""Training: manifest -> folds -> fit -> out-of-fold scores -> calibration -> weights."""
