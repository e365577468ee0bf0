"""What lies in a run folder: its files as frozen values; neither torch nor optuna."""
