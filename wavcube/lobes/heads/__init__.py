"""Heads: from a representation's frames to what a task asks for."""
