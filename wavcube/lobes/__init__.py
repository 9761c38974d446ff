"""Neural building blocks: they know tensors and lengths, never files, YAML or training stages.

An order to read them in:

1. `lengths`, how a batch's lengths are counted; `latent_codec`, what waveform to latent and back
   promises; `wavcube`, the model of the paper, which puts the following parts together;
   `configurable`, how a module remembers what it was built with.
2. Waveform to feature, in `ssl`: `encoder`, with the networks that it runs (`models`,
   `filterbank_wavlm`) layer by layer (`transformer`, whose attention is `relative_attention`).
3. Feature to latent and back: `bottleneck`; around it, each optional, `layer_mix` (in `layers`),
   `acoustic_skip` and `latent_basis`.
4. Latent to waveform, in `decoder`: of a small body (`convnext`) or the paper's
   (`causal_transformer`, `rotary_transformer` with `rotary`, `local_vocoder`), and of `istft`; for
   training, `discriminators`.
5. `acoustic_codec` and `acoustic_encoder`, the codec without a semantic part.
6. What several of these and the tasks' heads are made of, in `layers`: `local_attention`,
   `spectrogram`, `conformer`, `spec_augment`, `pitch`, `mask_head`, `latent_map`.
"""
