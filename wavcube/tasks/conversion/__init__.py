"""Voice conversion."""
