"""Separation of mixtures of two speakers, which are mixed while they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from wavcube.data.corpora.libri2mix import prepare_mixtures
from wavcube.data.corpora.libri2mix_drawn import draw_mixtures
from wavcube.data.manifest import Utterance
from wavcube.data.mixing.mixtures import MixtureDataset, MixtureRow, RemixedDataset, read_mixtures
from wavcube.data.prepare import check_same_data, extra_speech
from wavcube.experiment.speech import synthetic_corpus
from wavcube.lobes.layers.latent_map import LatentHead
from wavcube.lobes.layers.spectrogram import MaskHead
from wavcube.tasks.registry import register_task
from wavcube.tasks.separation import VERB
from wavcube.tasks.separation.conv_tasnet import ConvTasNetHead
from wavcube.tasks.separation.model import (
    LatentSeparator,
    MaskSeparator,
    WaveformSeparator,
)
from wavcube.tasks.signal import SignalModel, SignalTask
from wavcube.tasks.task import Splits

# what chooses the mixtures: a run goes on with the same only
DATA_KEYS = (
    "data_folder", "training_folders", "add_synthetic", "metadata_folder", "mode", "noisy",
    "noise_folder", "train_splits", "mixtures", "min_seconds", "held_out_roles",
    "held_out_speakers", "data_seed", "synthetic_minutes",
)  # fmt: skip


@register_task("separation")
class Separation(SignalTask):
    """A mixture of speakers to each of them alone: Libri2Mix, or the user's own mixtures."""

    verb = VERB
    items = "mixtures"
    models = {  # noqa: RUF012
        MaskHead: MaskSeparator,
        LatentHead: LatentSeparator,
        ConvTasNetHead: WaveformSeparator,
    }
    heard = "mixture"

    def rows(self, source: Path | None) -> Splits:
        """Read the manifests of train, valid and test."""
        hparams, rate = self.hparams, self.hparams["representation"]["sample_rate"]
        chosen = {key: hparams[key] for key in DATA_KEYS}
        check_same_data(self.folder / "manifests" / "data.json", chosen)
        source = synthetic_corpus(hparams) if source is None else source
        if not source.exists():
            raise FileNotFoundError(f"there is no folder or file {source}")
        manifests = prepare_mixtures(source, self.folder / "manifests", hparams, rate)
        root = source if source.is_dir() else source.parent
        rows = {role: read_mixtures(path, root) for role, path in manifests.items()}
        if more := self._extra_speech(rows["valid"] + rows["test"]):
            seed = hparams["data_seed"]
            rows["train"] += draw_mixtures(more, [], None, sample_rate=rate, seed=seed)
        return rows

    def _extra_speech(self, kept_apart: Sequence[MixtureRow]) -> list[Utterance]:
        """List the speech for training alone: further folders, and the synthetic corpus."""
        hparams = self.hparams
        folders = list(hparams["training_folders"])
        if hparams["add_synthetic"] and hparams["data_folder"] is not None:
            folders.append(synthetic_corpus(hparams) / "train-clean-100")
        if folders and hparams["noisy"]:
            raise ValueError(
                "noisy mixtures cannot be drawn from further speech: leave out training_folders "
                "and add_synthetic, or noisy"
            )
        apart = [Utterance(row.ID, 0.0, wav) for row in kept_apart for wav in row.sources]
        found = extra_speech(folders, apart, max_bad_fraction=hparams["max_bad_fraction"])
        return [
            # "_" stands between the speakers of a mixture
            replace(row, spk_id=row.spk_id.replace("_", "-"))
            for row in found
            if row.duration >= hparams["min_seconds"]
        ]

    def choose(self, rows: Sequence[MixtureRow], role: str) -> list[MixtureRow]:
        """Take all mixtures: `mixtures` has said how many there are."""
        del role
        return list(rows)

    def describe_rows(self, rows: Splits) -> str:
        """Say how many mixtures there are."""
        counts = [f"{role} {len(found)}" for role, found in rows.items()]
        return f"mixtures: {', '.join(counts)}"

    def dataset(self, model: SignalModel, rows: Sequence[MixtureRow], role: str) -> Dataset:
        """Give crops to train on, of mixtures made anew where `remix` is on, and whole mixtures."""
        hparams, rate = self.hparams, model.sample_rate
        if role != "train":
            return MixtureDataset(rows, rate, hparams["mode"], noisy=hparams["noisy"])
        crops = {
            "crop_seconds": hparams["crop_seconds"],
            "noisy": hparams["noisy"],
            "seed": hparams["seed"],
        }
        if not hparams["remix"]:
            return MixtureDataset(rows, rate, hparams["mode"], **crops)
        return RemixedDataset(
            rows,
            rate,
            crops_per_epoch=self.items_per_epoch,
            gain_db=hparams["remix_gain_db"],
            speed=hparams["remix_speed"],
            **crops,
        )

    def loader_options(self, dataset: Dataset, role: str) -> dict[str, Any]:
        """Shuffle mixtures that are taken as they are; those mixed anew are drawn already."""
        options = super().loader_options(dataset, role)
        if role == "train" and not self.hparams["remix"]:
            options["shuffle"] = True
        return options

    def card(self, model: SignalModel) -> dict[str, Any]:
        """Give the title and the summary of the release's card."""
        front_end = type(model.representation).__name__
        ways = {
            MaskSeparator: f"Masks on the mixture's spectrogram, estimated from {front_end}",
            LatentSeparator: f"A latent for each speaker, estimated from {front_end} and decoded",
        }
        way = ways.get(type(model), "Conv-TasNet, on the waveform itself")
        return {
            "title": "WavCube separator",
            "summary": f"{way}; made by a WavCube recipe. It takes mixtures of "
            f"{model.num_sources} speakers apart, of the kind that it was trained on.",
        }
