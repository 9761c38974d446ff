"""What a released folder consists of: weights, configuration, YAML and card, and where it is."""
