"""Self-supervised encoders as (features, lengths)."""
