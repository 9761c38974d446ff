"""The steps of a separator's run; those of a corpus are in the recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from speechbrain.dataio.batch import PaddedBatch
from torch.utils.data import Dataset
from tqdm import tqdm

from wavcube.data.extra_speech import further_speech
from wavcube.data.manifest import Utterance
from wavcube.data.mixing.mixtures import MixtureDataset, MixtureRow
from wavcube.data.mixing.remixing import RemixedDataset
from wavcube.data.prepare import check_same_data
from wavcube.experiment.report import Resynthesis
from wavcube.experiment.speech import embedded_corpus
from wavcube.experiment.usage import show
from wavcube.metrics import Summary, best_permutation
from wavcube.tasks.separation.model import LatentSeparator, MaskSeparator, Separator
from wavcube.tasks.signal import SignalRecipe
from wavcube.training.several import global_batch_size

MIXTURE = "mixture"
# what chooses the mixtures: a run goes on with the same only
DATA_KEYS = (
    "data_folder", "training_folders", "add_embedded", "metadata_folder", "mode", "noisy",
    "noise_folder", "train_splits", "mixtures", "min_seconds", "held_back_roles",
    "held_back_speakers", "data_seed", "embedded_minutes",
)  # fmt: skip


class SeparationRecipe(SignalRecipe):
    """Separation of mixtures of speakers.

    A recipe's ``prepare`` gives rows of :class:`~wavcube.data.mixing.mixtures.MixtureRow`.
    """

    def source(self) -> Path:
        """Find the data: the user's, or speech that the package makes itself.

        Returns
        -------
        Path
            A folder, or a CSV file.

        Raises
        ------
        FileNotFoundError
            If it is missing.
        ValueError
            If the run began with other data.
        """
        hparams = self.hparams
        chosen = {key: hparams[key] for key in DATA_KEYS}
        check_same_data(self.folder / "manifests" / "data.json", chosen)
        if hparams["data_folder"] is None:
            show("no --data_folder: training on speech that the package makes itself")
            return embedded_corpus(hparams)
        source = Path(hparams["data_folder"])
        if not source.exists():
            raise FileNotFoundError(f"there is no folder or file {source}")
        return source

    def further_speech(self, kept_apart: Sequence[MixtureRow]) -> list[Utterance]:
        """List the speech for training alone: further folders, and the embedded corpus.

        Parameters
        ----------
        kept_apart : sequence of MixtureRow
            Of validation and test.

        Returns
        -------
        list of Utterance
            With speakers: the first folder inside those given.

        Raises
        ------
        FileNotFoundError, ValueError
            See :func:`~wavcube.data.extra_speech.further_speech`; and if noisy mixtures are wanted.
        """
        hparams = self.hparams
        folders = list(hparams["training_folders"])
        if hparams["add_embedded"] and hparams["data_folder"] is not None:
            folders.append(embedded_corpus(hparams) / "train-clean-100")
        if folders and hparams["noisy"]:
            raise ValueError(
                "noisy mixtures cannot be drawn from further speech: leave out training_folders "
                "and add_embedded, or noisy"
            )
        apart = [Utterance(row.ID, 0.0, wav) for row in kept_apart for wav in row.sources]
        found = further_speech(folders, apart, max_bad_fraction=hparams["max_bad_fraction"])
        return [
            # "_" stands between the speakers of a mixture
            replace(row, spk_id=row.spk_id.replace("_", "-"))
            for row in found
            if row.duration >= hparams["min_seconds"]
        ]

    def make_model(self) -> Separator:
        """Build the YAML's separator of its representation and head."""
        hparams = self.hparams
        return hparams["separator"](hparams["representation"]["module"], hparams["head"])

    def datasets(self) -> tuple[Dataset, Dataset]:
        """Give crops to train on, and whole mixtures that choose the best."""
        hparams, rate = self.hparams, self.model.sample_rate
        counts = [f"{role} {len(rows)}" for role, rows in self.rows.items()]
        show(f"mixtures: {', '.join(counts)}")
        crops = {
            "crop_seconds": hparams["crop_seconds"],
            "noisy": hparams["noisy"],
            "seed": hparams["seed"],
        }
        if hparams["remix"]:
            self._train: Dataset = RemixedDataset(
                self.rows["train"],
                rate,
                crops_per_epoch=hparams["validate_every"]
                * global_batch_size(hparams["batch_size"]),
                gain_db=hparams["remix_gain_db"],
                speed=hparams["remix_speed"],
                **crops,
            )
        else:
            self._train = MixtureDataset(self.rows["train"], rate, hparams["mode"], **crops)
        return self._train, self._whole("valid")

    def loader_options(self, dataset: Dataset) -> dict[str, Any]:
        """Shuffle mixtures that are taken as they are; those mixed anew are drawn already.

        Parameters
        ----------
        dataset : Dataset
            Of :meth:`datasets`.
        """
        options = {**super().loader_options(dataset), "collate_fn": PaddedBatch}
        if dataset is self._train and not self.hparams["remix"]:
            options["shuffle"] = True
        return options

    def references(self) -> dict[str, dict[str, Summary]]:
        """Score the mixtures themselves, as if nothing were separated."""
        test = self._whole("test")
        self._mixtures: dict[str, np.ndarray] = {}
        mixed = Resynthesis(self.model.sample_rate)
        for item in (test[index] for index in range(len(test))):
            self._mixtures[item["id"]] = item["wav"].numpy()
            for place, source in enumerate(item["sources"].T, start=1):
                name = f"{item['id']}_s{place}"
                mixed.originals[name] = source.numpy()
                mixed.copies[name] = self._mixtures[item["id"]]
        return self.score_input(MIXTURE, mixed)

    def evaluate(self, label: str) -> dict[str, Summary]:
        """Separate the test mixtures one by one, as the class for users does, and score them.

        Parameters
        ----------
        label : str
            Of the row.
        """
        model = self.model.to(self.device).eval()
        originals = self.results[MIXTURE].originals
        result = Resynthesis(model.sample_rate, originals=originals)
        silent = self.run_opts["noprogressbar"]
        for name, wav in tqdm(self._mixtures.items(), desc="separation", disable=silent):
            with torch.no_grad():
                made = model(torch.from_numpy(wav)[None].to(self.device))[0].float().cpu().numpy()
            names = [f"{name}_s{place}" for place in range(1, len(made) + 1)]
            order = best_permutation(np.stack([originals[key] for key in names]), made)
            result.copies.update(zip(names, made[list(order)], strict=True))
        return self.score_result(label, result)

    def card_entries(self) -> dict[str, Any]:
        """Give the title and the summary of the release's card."""
        front_end = type(self.model.representation).__name__
        ways = {
            MaskSeparator: f"Masks on the mixture's spectrogram, estimated from {front_end}",
            LatentSeparator: f"A latent for each speaker, estimated from {front_end} and decoded",
        }
        way = ways.get(type(self.model), "Conv-TasNet, on the waveform itself")
        return {
            "title": "WavCube separator",
            "summary": f"{way}; made by a WavCube recipe. It takes mixtures of "
            f"{self.model.num_sources} speakers apart, of the kind that it was trained on.",
        }

    def _whole(self, role: str) -> MixtureDataset:
        hparams, rate = self.hparams, self.model.sample_rate
        return MixtureDataset(self.rows[role], rate, hparams["mode"], noisy=hparams["noisy"])
