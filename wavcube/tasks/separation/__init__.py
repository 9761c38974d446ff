"""Separation of speakers."""
