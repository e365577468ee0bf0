"""How channel dimensions pass through operations without weights, and what a walk knows of them."""
