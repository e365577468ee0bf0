"""The planner as one of Optuna's samplers, and Optuna's own made resumable."""
