"""Decoders of the latent: backbones, waveform heads, streams; and their discriminators."""
