"""What to try next, and whether to: pure functions of a seed, a trial number and a history."""
