"""Pretrain the small SSL encoder on real speech and the synthetic corpus.

    python recipes/LibriSpeech/pretrain_ssl.py hparams/ssl.yaml --data_folders "[FOLDER, ...]"

Without folders of speech the synthetic corpus is all there is. The last round's encoder is left in
the output folder's `encoder/`, which train.py takes as --ssl_source.
"""

from wavcube.pretraining.run import main

if __name__ == "__main__":
    main(__file__, __doc__)
