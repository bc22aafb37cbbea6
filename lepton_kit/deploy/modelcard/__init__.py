"""The model card of a run: what it learned from, how well it answers held-out samples, and what that doesn't show."""
