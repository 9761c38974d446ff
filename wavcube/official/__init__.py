"""Checkpoints of the authors' research code, converted to releases."""
