"""Neural building blocks: they know tensors and lengths, never files, YAML or training stages."""
