"""Tasks on a representation of speech: one folder for each, and what they share."""
