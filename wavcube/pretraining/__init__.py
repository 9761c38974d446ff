"""Self-supervised pretraining of encoders."""
