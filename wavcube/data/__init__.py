"""Data: audio files, manifests, crops for training, and the embedded corpus."""
