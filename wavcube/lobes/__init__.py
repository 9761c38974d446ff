"""Neural building blocks: they know tensors and lengths, never files, YAML or training stages.

An order to read them in:

1. `lengths`, how a batch's lengths are counted; `latent_codec`, what waveform to latent and back
   promises; `wavcube`, the model of the paper, which puts the following parts together.
2. Waveform to feature: `ssl_encoder`, with the networks that it runs (`ssl_models`,
   `filterbank_wavlm`) layer by layer (`transformer`, whose attention is `relative_attention`).
3. Feature to latent and back: `bottleneck`; around it, each optional, `layer_mix`,
   `acoustic_skip` and `latent_basis`.
4. Latent to waveform: `decoder`, of a small body (`convnext`) or the paper's
   (`causal_transformer`, `rotary_transformer` with `rotary`, `local_vocoder` with
   `local_attention`), and of `istft`.
5. For training: `discriminators`; `cluster_targets` for the encoder's pretraining.
6. `acoustic_codec` and `acoustic_encoder`, the codec without a semantic part.
7. What uses a latent: the folder `heads`, and what several of them are made of, such as
   `spectrogram`, `conformer`, `spec_augment`, `pitch` and `voice`.
"""
