"""Mixtures of speech, noise and rooms, made while they are read."""
