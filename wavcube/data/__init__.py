"""Data: audio files, manifests, crops for training, and the synthetic corpus."""
