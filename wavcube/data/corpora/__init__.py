"""One reader for each corpus."""
