"""A model as networks for onnxruntime, without torch."""
