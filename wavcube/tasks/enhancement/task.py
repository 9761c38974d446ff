"""Enhancement of pairs of noisy and clean speech, or of clean speech that is mixed while read."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechbrain.dataio.batch import PaddedBatch
from torch import Tensor
from torch.utils.data import Dataset

from wavcube.data.corpora import librispeech
from wavcube.data.corpora.vctk import extra_folders, is_vctk, prepare_vctk, synthetic_vctk
from wavcube.data.corpora.voicebank import is_voicebank, prepare_voicebank
from wavcube.data.crops import CropDataset, SpeechDataset, utterance_dataset
from wavcube.data.manifest import Utterance, read_manifest
from wavcube.data.mixing.noisy import ROLES, NoisyDataset, share_out_noises
from wavcube.data.mixing.pairs import (
    NoisyPair,
    PairCrops,
    PairDataset,
    pair_up,
    prepare_own_pairs,
    read_pairs,
)
from wavcube.data.prepare import check_same_data, extra_speech, scan_audio_folder
from wavcube.data.synthetic import default_cache_folder, make_synthetic_noises, synthetic_speakers
from wavcube.data.synthetic.vctk import Role
from wavcube.lobes.layers.latent_map import LatentHead
from wavcube.lobes.layers.spectrogram import MaskHead
from wavcube.metrics import Metric, dnsmos_metrics
from wavcube.metrics.scores import add_model_metrics
from wavcube.tasks.enhancement import VERB
from wavcube.tasks.enhancement.model import LatentEnhancer, MaskEnhancer
from wavcube.tasks.registry import register_task
from wavcube.tasks.signal import SignalModel, SignalTask
from wavcube.tasks.task import Splits

# what chooses the speech: a run goes on with the same only
DATA_KEYS = ("data_folder", "training_folders", "add_synthetic", "noise_folder", "room_folder",
             "synthetic", "synthetic_noise", "microphone", "train_set", "valid_speakers",
             "test_speakers", "held_out_speakers")  # fmt: skip
# VoiceBank-DEMAND's, of SUPERB-SG
VALID_SPEAKERS, TEST_SPEAKERS = ["p226", "p287"], ["p232", "p257"]


@register_task("enhancement")
class Enhancement(SignalTask):
    """Noisy speech to clean: VoiceBank-DEMAND, VCTK, LibriSpeech, or the user's own audio."""

    verb = VERB
    models = {MaskHead: MaskEnhancer, LatentHead: LatentEnhancer}  # noqa: RUF012
    heard = "noisy input"

    noises: dict[str, list[Utterance]]
    rooms: dict[str, list[Utterance]]

    def rows(self, source: Path | None) -> Splits:
        """Read the manifests of train, valid and test: pairs, or clean speech to be mixed."""
        hparams, out = self.hparams, self.folder / "manifests"
        check_same_data(out / "data.json", {key: hparams[key] for key in DATA_KEYS})
        is_synthetic = source is None
        source = synthetic_vctk(hparams) if source is None else source
        root = source if source.is_dir() else source.parent
        limits = {"max_bad_fraction": hparams["max_bad_fraction"]}
        if _lists_pairs(source):
            manifests = prepare_own_pairs(source, out, **limits)
            return {role: read_pairs(path, root) for role, path in manifests.items()}
        if is_voicebank(source):
            names = ("valid_speakers", "test_speakers")
            held_out = {key: hparams[key] for key in names if hparams[key] is not None}
            chosen = {"train_set": hparams["train_set"], **held_out}
            manifests = prepare_voicebank(source, out, **chosen, **limits)
            rows = {name: read_manifest(path, root) for name, path in manifests.items()}
            return {role: pair_up(rows[f"{role}_noisy"], rows[f"{role}_clean"]) for role in ROLES}
        self._gather_noises()
        if is_vctk(source):
            chosen = {"microphone": hparams["microphone"], **self._held_out(is_synthetic)}
            manifests = prepare_vctk(source, out, **chosen, **limits)
        else:
            manifests = librispeech.prepare(source, out, hparams)
        rows = {role: read_manifest(path, root) for role, path in manifests.items()}
        rows["train"] += extra_speech(
            extra_folders(hparams), rows["valid"] + rows["test"], **limits
        )
        return rows

    def _held_out(self, is_synthetic: bool) -> dict[str, Sequence[str]]:
        """Choose the speakers of validation and test, of VCTK or of the synthetic corpus."""
        known: dict[Role, Sequence[str]] = {"valid": VALID_SPEAKERS, "test": TEST_SPEAKERS}
        if is_synthetic:
            sizes = self.hparams["synthetic"]
            known = {role: synthetic_speakers(role, sizes[f"{role}_voices"]) for role in known}
        return {
            f"{role}_speakers": self.hparams[f"{role}_speakers"] or names
            for role, names in known.items()
        }

    def _gather_noises(self) -> None:
        """Find the noises and rooms of each role: the user's folders, or the package's own."""
        hparams = self.hparams
        sources = {"noises": hparams["noise_folder"], "rooms": hparams["room_folder"]}
        made: Mapping[str, Any] = {}
        if None in sources.values():
            cache = hparams["synthetic_folder"] or default_cache_folder()
            made = make_synthetic_noises(cache, **hparams["synthetic_noise"])
        bad = hparams["max_bad_fraction"]
        for kind, folder in sources.items():
            if folder is not None:
                found = share_out_noises(folder, max_bad_fraction=bad)
            else:
                found = {r: scan_audio_folder(getattr(made[r], kind)).utterances for r in ROLES}
            setattr(self, kind, found)

    def choose(self, rows: Sequence[Any], role: str) -> list[Any]:
        """Choose the utterances that are long enough to be scored, as many as asked for."""
        shortest = self.hparams["shortest_test"]
        long_enough = [row for row in rows if row.duration >= shortest]
        if not long_enough:
            raise ValueError(f"no {role} utterance lasts {shortest} s: lower shortest_test")
        return super().choose(long_enough, role)

    def dataset(self, model: SignalModel, rows: Sequence[Any], role: str) -> Dataset:
        """Give pairs, as they are or mixed while they are read: crops to train on, or whole."""
        is_paired, rate = isinstance(rows[0], NoisyPair), model.sample_rate
        if role != "train":
            rows = self.choose(rows, role)
            if is_paired:
                return PairDataset(rows, rate)
            # not the run's seed: runs of several seeds hear the same validation and test
            seed = self.hparams["mixing_seed"] + ROLES.index(role)
            return self._mixed(role, utterance_dataset(rows, rate), rate, seed)
        crops = {
            "crop_seconds": self.hparams["crop_seconds"],
            "crops_per_epoch": self.items_per_epoch,
            "sample_rate": rate,
            "seed": self.hparams["seed"],
        }
        if is_paired:
            return PairCrops(rows, **crops)
        speech = CropDataset([row.as_dict() for row in rows], **crops)
        return self._mixed(role, speech, rate, self.hparams["seed"])

    def _mixed(self, role: str, speech: SpeechDataset, sample_rate: int, seed: int) -> NoisyDataset:
        return NoisyDataset(
            speech,
            self.noises[role],
            sample_rate=sample_rate,
            seed=seed,
            snr_db=tuple(self.hparams["snr_db"]),
            rooms=self.rooms[role],
            room_probability=self.hparams["room_probability"],
        )

    def sources(self, batch: PaddedBatch) -> Tensor:
        """Give the clean speech of a batch, `[B, 1, T]`."""
        return batch.clean.data[:, None]

    def table_metrics(self) -> Sequence[str | Metric]:
        """Give the YAML's metrics, and those of the user's DNSMOS model."""
        model_file = self.hparams["dnsmos_model"]
        given = () if model_file is None else dnsmos_metrics(model_file)
        return add_model_metrics(self.hparams["metrics"], given)

    def card(self, model: SignalModel) -> dict[str, Any]:
        """Give the title and the summary of the release's card."""
        masks = isinstance(model, MaskEnhancer)
        way = "A mask on the noisy spectrogram" if masks else "The latent of clean speech, decoded"
        front_end = type(model.representation).__name__
        return {
            "title": "WavCube enhancer",
            "summary": f"{way}, estimated from {front_end}; made by a WavCube recipe. It knows the "
            "kinds of speech and noise that it was trained on.",
        }


def _lists_pairs(source: Path) -> bool:
    """Tell whether a CSV file lists pairs: by its columns."""
    if not source.is_file():
        return False
    with source.open(newline="", encoding="utf-8-sig") as file:
        columns = next(csv.reader(file, skipinitialspace=True), [])
    return bool({"noisy", "clean"} & set(columns))
