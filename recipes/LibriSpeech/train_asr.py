"""Train a recogniser on a representation of speech, evaluate it, and write a folder that loads.

    python recipes/LibriSpeech/train_asr.py hparams/asr.yaml [--data_folder FOLDER_OR_CSV]
    python recipes/LibriSpeech/train_asr.py hparams/asr.yaml --representation '!include:representation/mel.yaml'
    python recipes/LibriSpeech/train_asr.py hparams/asr.yaml --pretrained RELEASE --data_folder ...

The data are LibriSpeech, a CSV with the columns "wav" and "wrd" (the words), or any folder of wav
and flac files with a .txt file of the words beside each; without a data folder the package synthesises a
corpus itself. The same command again resumes a run that was interrupted, and evaluates one that was
finished.
"""  # noqa: E501

from wavcube.tasks.run import main

if __name__ == "__main__":
    main(__file__, __doc__, "recognition")
