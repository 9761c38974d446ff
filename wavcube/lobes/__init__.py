"""Neural building blocks: they know tensors and lengths, never files, YAML or training stages.

An order to read them in:

1. `lengths`, how a batch's lengths are counted; `latent_codec`, what waveform to latent and back
   promises; `wavcube`, the model of the paper, which puts the following parts together;
   `configurable`, how a module remembers what it was built with.
2. Waveform to feature, in `ssl`: `encoder`, with the networks that it runs (those of transformers,
   and `filterbank_wavlm`) layer by layer (`transformer`, with its attention).
3. Feature to latent and back: `bottleneck`, and the latent's coordinates.
4. Latent to waveform, in `decoder`: `decoder`, with a small body (`convnext`) or the paper's
   (`causal_transformer`, `rotary_transformer`, `local_vocoder`), and an inverse transform; for
   latents that come in pieces, `stream`; for training, `discriminators`.
5. `acoustic_codec`, the codec without a semantic part.
6. What several of these and the tasks' heads are made of, in `layers`: `linear`, `modes`, `level`,
   `local_attention`, `spectrogram` with the mask head, `conformer`, `recurrent`, `mean_pool`,
   `spec_augment`, `pitch`, `latent_map`.
"""
