"""Layers with weights: how channels pass through each kind, and how it runs narrow."""
