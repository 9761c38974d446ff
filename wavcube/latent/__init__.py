"""Training of the latent, both stages."""
