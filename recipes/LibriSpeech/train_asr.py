"""Train a recogniser on a representation of speech, evaluate it, and write a folder that loads.

    python recipes/LibriSpeech/train_asr.py hparams/asr.yaml [--data_folder FOLDER_OR_CSV]
    python recipes/LibriSpeech/train_asr.py hparams/asr.yaml --representation '!include:representation/mel.yaml'
    python recipes/LibriSpeech/train_asr.py hparams/asr.yaml --pretrained RELEASE --data_folder ...

The data are LibriSpeech, a CSV with the columns "wav" and "wrd" (the words), or any folder of wav
and flac files with a .txt file of the words beside each; without a data folder the package speaks a
corpus itself. The same command again resumes a run that was interrupted, and evaluates one that was
finished.
"""  # noqa: E501

import sys

from wavcube.data.corpora.librispeech import prepare
from wavcube.data.transcripts import read_transcripts_beside, split_by_speaker
from wavcube.experiment.speech import prepare_rows
from wavcube.tasks.recognition.brain import RecognitionBrain
from wavcube.tasks.recognition.task import RecognitionRecipe


class Recipe(RecognitionRecipe):
    """Recognition of LibriSpeech, or of the user's own audio."""

    brain_class = RecognitionBrain

    def prepare(self):
        """Read the manifests of train, valid and test, with the words of each utterance."""
        rows = prepare_rows(self.hparams, prepare)
        rows = {part: read_transcripts_beside(found) for part, found in rows.items()}
        speakers = self.hparams["test_speakers"]
        return split_by_speaker(rows, speakers, self.hparams["seed"]) if speakers else rows


if __name__ == "__main__":
    Recipe("train_asr.py", __doc__).main(sys.argv[1:])
