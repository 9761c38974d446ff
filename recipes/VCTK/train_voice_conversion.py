"""Train a voice converter on WavCube's latent, evaluate it, and write a folder that loads.

    python recipes/VCTK/train_voice_conversion.py hparams/voice_conversion.yaml [--data_folder ...]
    python recipes/VCTK/train_voice_conversion.py hparams/voice_conversion_any_to_one.yaml [...]
    python recipes/VCTK/train_voice_conversion.py hparams/voice_conversion.yaml --pretrained RELEASE

The data are VCTK 0.80 or 0.92, a CSV with the columns "wav" and "spk_id" (and "wrd", the words), or
a folder with a subfolder of wav and flac files for each speaker; without a data folder the package
speaks a corpus in VCTK's layout itself. No parallel sentences are needed: the converter learns to
restore utterances from copies in other voices. The same command again resumes a run that was
interrupted, and evaluates one that was finished.
"""

import sys
from pathlib import Path

from wavcube.data.corpora.custom import further_voices, prepare_own_voices
from wavcube.data.corpora.vctk import embedded_vctk, further_folders, is_vctk, prepare_vctk
from wavcube.data.manifest import read_manifest
from wavcube.data.prepare import check_same_data
from wavcube.data.synthetic import embedded_speakers
from wavcube.experiment.usage import show
from wavcube.tasks.conversion.brain import ConversionBrain
from wavcube.tasks.conversion.task import ConversionRecipe

# what chooses the speech: a run goes on with the same only
DATA_KEYS = ("data_folder", "training_folders", "add_embedded", "embedded", "microphone",
             "valid_speakers", "test_speakers", "target_speaker")  # fmt: skip
# and, where one speaker is learned, which of its recordings are kept apart
ONE_VOICE_KEYS = ("valid_sentences", "sentences_per_pair")


class Recipe(ConversionRecipe):
    """Conversion between VCTK's voices, or those of the user's own audio."""

    brain_class = ConversionBrain

    def prepare(self):
        """Read the manifests of train, valid and test."""
        hparams, out = self.hparams, self.folder / "manifests"
        keys = DATA_KEYS if hparams["target_speaker"] is None else (*DATA_KEYS, *ONE_VOICE_KEYS)
        check_same_data(out / "data.json", {key: hparams[key] for key in keys})
        own, limits = hparams["data_folder"], {"max_bad_fraction": hparams["max_bad_fraction"]}
        if own is None:
            show("no --data_folder: training on speech that the package makes itself")
        source = embedded_vctk(hparams) if own is None else Path(own)
        if is_vctk(source):
            chosen = {"microphone": hparams["microphone"], **self.held_back()}
            manifests = prepare_vctk(source, out, **chosen, **limits)
        else:
            names = ("valid_speakers", "test_speakers")
            chosen = {name: hparams[name] or () for name in names}
            manifests = prepare_own_voices(source, out, **chosen, **limits)
        root = source if source.is_dir() else source.parent
        rows = {role: read_manifest(path, root) for role, path in manifests.items()}
        rows["train"] += further_voices(
            further_folders(hparams), rows["valid"] + rows["test"], **limits
        )
        return rows

    def held_back(self):
        """Give VCTK's speakers of validation and test, or the embedded corpus's."""
        named = {role: self.hparams[f"{role}_speakers"] for role in ("valid", "test")}
        if self.hparams["data_folder"] is None:
            sizes = self.hparams["embedded"]
            named = {
                role: names or embedded_speakers(role, sizes[f"{role}_voices"])
                for role, names in named.items()
            }
        missing = [f"{role}_speakers" for role, names in named.items() if not names]
        if missing:
            raise ValueError(
                f"name VCTK's speakers to hold back by {' and '.join(missing)}, such as "
                f"--{missing[0]} [p225,p226]"
            )
        return {f"{role}_speakers": names for role, names in named.items()}


if __name__ == "__main__":
    Recipe("train_voice_conversion.py", __doc__).main(sys.argv[1:])
