"""Fewer weights: zeros while training, and whole channels taken out."""
