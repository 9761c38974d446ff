"""Train an enhancer on a representation of noisy speech, evaluate it, write a folder that loads.

    python recipes/VCTK/train_enhancement.py hparams/enhancement.yaml [--data_folder FOLDER_OR_CSV]
    python recipes/VCTK/train_enhancement.py hparams/enhancement_latent.yaml [...]
    python recipes/VCTK/train_enhancement.py hparams/enhancement_superb.yaml --data_folder VOICEBANK
    python recipes/VCTK/train_enhancement.py hparams/enhancement.yaml --pretrained RELEASE [...]

The data are VoiceBank-DEMAND, any folder with `clean` and `noisy` in it, or a CSV with the columns
"noisy" and "clean"; or clean speech (VCTK, LibriSpeech, any folder, a CSV with the column "wav")
that is mixed with noise of --noise_folder in rooms of --room_folder while it is read. What is not
given the package makes itself: speech in VCTK's layout, noises, rooms. The same command again
resumes a run that was interrupted, and evaluates one that was finished.
"""

import csv
import sys
from pathlib import Path

from wavcube.data.corpora import librispeech
from wavcube.data.corpora.vctk import embedded_vctk, further_folders, is_vctk, prepare_vctk
from wavcube.data.corpora.voicebank import is_voicebank, prepare_voicebank
from wavcube.data.extra_speech import further_speech
from wavcube.data.manifest import read_manifest
from wavcube.data.mixing.pairs import pair_up, prepare_own_pairs, read_pairs
from wavcube.data.prepare import check_same_data
from wavcube.data.synthetic import embedded_speakers
from wavcube.experiment.usage import show
from wavcube.tasks.enhancement.brain import EnhancementBrain
from wavcube.tasks.enhancement.task import EnhancementRecipe

# what chooses the speech: a run goes on with the same only
DATA_KEYS = ("data_folder", "training_folders", "add_embedded", "noise_folder", "room_folder",
             "embedded", "embedded_noise", "microphone", "train_set", "valid_speakers",
             "test_speakers", "held_back_speakers")  # fmt: skip
# VoiceBank-DEMAND's, of SUPERB-SG
VALID_SPEAKERS, TEST_SPEAKERS = ["p226", "p287"], ["p232", "p257"]


class Recipe(EnhancementRecipe):
    """Enhancement of VoiceBank-DEMAND, VCTK, LibriSpeech, or the user's own audio."""

    brain_class = EnhancementBrain

    def prepare(self):
        """Read the manifests of train, valid and test: pairs, or clean speech to be mixed."""
        hparams, out = self.hparams, self.folder / "manifests"
        check_same_data(out / "data.json", {key: hparams[key] for key in DATA_KEYS})
        source = self.find_source()
        root = source if source.is_dir() else source.parent
        limits = {"max_bad_fraction": hparams["max_bad_fraction"]}
        if lists_pairs(source):
            manifests = prepare_own_pairs(source, out, **limits)
            return {role: read_pairs(path, root) for role, path in manifests.items()}
        if is_voicebank(source):
            manifests = self.prepare_voicebank(source, out, limits)
            rows = {name: read_manifest(path, root) for name, path in manifests.items()}
            roles = ("train", "valid", "test")
            return {role: pair_up(rows[f"{role}_noisy"], rows[f"{role}_clean"]) for role in roles}
        self.gather_noises()
        manifests = self.prepare_clean(source, out, limits)
        rows = {role: read_manifest(path, root) for role, path in manifests.items()}
        rows["train"] += further_speech(
            further_folders(hparams), rows["valid"] + rows["test"], **limits
        )
        return rows

    def find_source(self):
        """Give the folder or CSV file of the speech; without one, what the package speaks."""
        if self.hparams["data_folder"] is not None:
            return Path(self.hparams["data_folder"])
        show("no --data_folder: training on speech and noise that the package makes itself")
        return embedded_vctk(self.hparams)

    def prepare_voicebank(self, source, out, limits):
        """Write the manifests of pairs, with the speakers that the YAML holds back, if any."""
        names = ("valid_speakers", "test_speakers")
        held_back = {key: self.hparams[key] for key in names if self.hparams[key] is not None}
        train_set = self.hparams["train_set"]
        return prepare_voicebank(source, out, train_set=train_set, **held_back, **limits)

    def prepare_clean(self, source, out, limits):
        """Write the manifests of clean speech: VCTK's, LibriSpeech's, or of the user's own."""
        hparams = self.hparams
        if not is_vctk(source):
            return librispeech.prepare(source, out, hparams)
        valid, test = VALID_SPEAKERS, TEST_SPEAKERS
        if hparams["data_folder"] is None:
            valid = embedded_speakers("valid", hparams["embedded"]["valid_voices"])
            test = embedded_speakers("test", hparams["embedded"]["test_voices"])
        valid = hparams["valid_speakers"] or valid
        test = hparams["test_speakers"] or test
        chosen = {"valid_speakers": valid, "test_speakers": test}
        return prepare_vctk(source, out, microphone=hparams["microphone"], **chosen, **limits)


def lists_pairs(source):
    """Tell whether a CSV file lists pairs: by its columns."""
    if not source.is_file():
        return False
    with source.open(newline="", encoding="utf-8-sig") as file:
        columns = next(csv.reader(file, skipinitialspace=True), [])
    return bool({"noisy", "clean"} & set(columns))


if __name__ == "__main__":
    Recipe("train_enhancement.py", __doc__).main(sys.argv[1:])
