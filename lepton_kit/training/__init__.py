"""Data-parallel training: the step, the collective operations, elastic state and checkpoints."""
