"""Train a separator of two speakers, evaluate it, and write a folder that loads.

    python recipes/Libri2Mix/train_separation.py hparams/separation.yaml [--data_folder FOLDER_OR_CSV]
    python recipes/Libri2Mix/train_separation.py hparams/separation_latent.yaml [...]
    python recipes/Libri2Mix/train_separation.py hparams/separation_convtasnet.yaml [...]
    python recipes/Libri2Mix/train_separation.py hparams/separation.yaml --pretrained RELEASE [...]

The data are LibriSpeech with LibriMix's published metadata (--metadata_folder), anything in
LibriSpeech's layout (mixtures are then drawn as LibriMix's were), a Libri2Mix that LibriMix's
scripts have made, or a CSV with the columns "mixture_ID", "split", "source_1_path" and
"source_2_path"; without a data folder the package synthesises a corpus itself. No mixture is written to
the disk. The same command again resumes a run that was interrupted, and evaluates one that was
finished.
"""  # noqa: E501

from wavcube.tasks.run import main

if __name__ == "__main__":
    main(__file__, __doc__, "separation")
