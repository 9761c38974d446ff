"""Train a separator of two speakers, evaluate it, and write a folder that loads.

    python recipes/Libri2Mix/train_separation.py hparams/separation.yaml [--data_folder FOLDER_OR_CSV]
    python recipes/Libri2Mix/train_separation.py hparams/separation_latent.yaml [...]
    python recipes/Libri2Mix/train_separation.py hparams/separation_convtasnet.yaml [...]
    python recipes/Libri2Mix/train_separation.py hparams/separation.yaml --pretrained RELEASE [...]

The data are LibriSpeech with LibriMix's published metadata (--metadata_folder), anything in
LibriSpeech's layout (mixtures are then drawn as LibriMix's were), a Libri2Mix that LibriMix's
scripts have made, or a CSV with the columns "mixture_ID", "split", "source_1_path" and
"source_2_path"; without a data folder the package speaks a corpus itself. No mixture is written to
the disk. The same command again resumes a run that was interrupted, and evaluates one that was
finished.
"""  # noqa: E501

import sys

from wavcube.data.corpora.libri2mix import prepare_mixtures
from wavcube.data.corpora.libri2mix_drawn import draw_mixtures
from wavcube.data.mixing.mixtures import read_mixtures
from wavcube.tasks.separation.brain import SeparationBrain
from wavcube.tasks.separation.task import SeparationRecipe


class Recipe(SeparationRecipe):
    """Separation of Libri2Mix, or of the user's own mixtures."""

    brain_class = SeparationBrain

    def prepare(self):
        """Read the manifests of train, valid and test."""
        source, rate = self.source(), self.hparams["representation"]["sample_rate"]
        manifests = prepare_mixtures(source, self.folder / "manifests", self.hparams, rate)
        root = source if source.is_dir() else source.parent
        rows = {role: read_mixtures(path, root) for role, path in manifests.items()}
        if further := self.further_speech(rows["valid"] + rows["test"]):
            seed = self.hparams["data_seed"]
            rows["train"] += draw_mixtures(further, [], None, sample_rate=rate, seed=seed)
        return rows


if __name__ == "__main__":
    Recipe("train_separation.py", __doc__).main(sys.argv[1:])
