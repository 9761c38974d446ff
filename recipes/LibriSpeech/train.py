"""Train WavCube's latent in stages, evaluate each, and write a folder that loads.

    python recipes/LibriSpeech/train.py hparams/wavcube.yaml [--data_folder FOLDER_OR_CSV]
    python recipes/LibriSpeech/train.py hparams/acoustic_codec.yaml [--data_folder FOLDER_OR_CSV]
    python recipes/LibriSpeech/train.py hparams/wavcube.yaml --pretrained RELEASE --data_folder ...

The data are LibriSpeech, any folder of wav and flac files, a CSV with the column "wav", or a
manifest of any size (JSON lines, a folder of tar shards); without a data folder the package
synthesises a corpus itself. The same command again resumes a run that was interrupted, and
evaluates one that was finished. Each stage but the last leaves a folder that loads too.
"""

from wavcube.latent.run import main

if __name__ == "__main__":
    main(__file__, __doc__)
