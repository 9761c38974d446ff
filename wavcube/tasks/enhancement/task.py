"""The steps of an enhancer's run; those of a corpus are in the recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from speechbrain.dataio.batch import PaddedBatch
from torch.utils.data import Dataset
from tqdm import tqdm

from wavcube.data.crops import CropDataset
from wavcube.data.manifest import Utterance
from wavcube.data.mixing.noise_sets import ROLES, share_out_noises
from wavcube.data.mixing.noisy import NoisyDataset
from wavcube.data.mixing.pair_datasets import PairCrops, PairDataset
from wavcube.data.mixing.pairs import NoisyPair
from wavcube.data.scan import scan_audio_folder
from wavcube.data.splits import describe_split, evenly_spaced
from wavcube.data.synthetic import default_cache_folder, make_embedded_noises
from wavcube.data.utterances import utterance_dataset
from wavcube.experiment.report import Resynthesis
from wavcube.experiment.usage import show
from wavcube.metrics import Metric, Summary, dnsmos_metrics
from wavcube.metrics.registry import add_model_metrics
from wavcube.tasks.enhancement.model import Enhancer, MaskEnhancer
from wavcube.tasks.signal import SignalRecipe
from wavcube.training.several import global_batch_size

NOISY = "noisy input"


class EnhancementRecipe(SignalRecipe):
    """Enhancement of pairs, or of clean speech that is mixed with noise while it is read.

    A recipe's ``prepare`` gives rows of pairs (:class:`~wavcube.data.mixing.pairs.NoisyPair`), or
    rows of clean speech after :meth:`gather_noises`.
    """

    validates_alone = True
    noises: dict[str, list[Utterance]]
    rooms: dict[str, list[Utterance]]

    def gather_noises(self) -> None:
        """Find the noises and rooms of each role: the user's folders, or the package's own.

        Raises
        ------
        FileNotFoundError, ValueError
            See :func:`~wavcube.data.mixing.noise_sets.share_out_noises`.
        """
        hparams = self.hparams
        sources = {"noises": hparams["noise_folder"], "rooms": hparams["room_folder"]}
        made: Mapping[str, Any] = {}
        if None in sources.values():
            cache = hparams["embedded_folder"] or default_cache_folder()
            made = make_embedded_noises(cache, **hparams["embedded_noise"])
        bad = hparams["max_bad_fraction"]
        for kind, folder in sources.items():
            if folder is not None:
                found = share_out_noises(folder, max_bad_fraction=bad)
            else:
                found = {r: scan_audio_folder(getattr(made[r], kind)).utterances for r in ROLES}
            setattr(self, kind, found)

    def make_model(self) -> Enhancer:
        """Build the YAML's enhancer of its representation and head."""
        hparams = self.hparams
        return hparams["enhancer"](hparams["representation"]["module"], hparams["head"])

    def datasets(self) -> tuple[Dataset, Dataset]:
        """Give crops to train on, and whole utterances that choose the best."""
        hparams = self.hparams
        valid = self._pick("valid")
        show(describe_split({**self.rows, "valid": valid, "test": self._pick("test")}))
        crops = {
            "crop_seconds": hparams["crop_seconds"],
            "crops_per_epoch": hparams["validate_every"] * global_batch_size(hparams["batch_size"]),
            "sample_rate": self.model.sample_rate,
            "seed": hparams["seed"],
        }
        train = self.rows["train"]
        if isinstance(train[0], NoisyPair):
            return PairCrops(train, **crops), self._whole("valid", valid)
        speech = CropDataset([row.as_dict() for row in train], **crops)
        return self._mixed("train", speech, hparams["seed"]), self._whole("valid", valid)

    def loader_options(self, dataset: Dataset) -> dict[str, Any]:
        """Pad batches to their longest item: crops may be longer than most utterances.

        Parameters
        ----------
        dataset : Dataset
            Of :meth:`datasets`.
        """
        return {**super().loader_options(dataset), "collate_fn": PaddedBatch}

    def metrics(self) -> Sequence[str | Metric]:
        """Give the YAML's metrics, and those of the user's DNSMOS model."""
        model_file = self.hparams["dnsmos_model"]
        given = () if model_file is None else dnsmos_metrics(model_file)
        return add_model_metrics(self.hparams["metrics"], given)

    def references(self) -> dict[str, dict[str, Summary]]:
        """Score the noisy speech itself."""
        test = self._test()
        noisy = Resynthesis(self.model.sample_rate)
        for item in (test[index] for index in range(len(test))):
            noisy.originals[item["id"]] = item["clean"].numpy()
            noisy.copies[item["id"]] = item["wav"].numpy()
        return self.score_input(NOISY, noisy)

    def evaluate(self, label: str) -> dict[str, Summary]:
        """Enhance the test utterances one by one, as the class for users does, and score them.

        Parameters
        ----------
        label : str
            Of the row.
        """
        model = self.model.to(self.device).eval()
        noisy = self.results[NOISY]
        result = Resynthesis(model.sample_rate, originals=noisy.originals)
        bar = tqdm(noisy.copies, desc="enhancement", disable=self.run_opts["noprogressbar"])
        for name in bar:
            wav = torch.from_numpy(noisy.copies[name])[None].to(self.device)
            with torch.no_grad():
                result.copies[name] = model(wav)[0].float().cpu().numpy()
        return self.score_result(label, result)

    def card_entries(self) -> dict[str, Any]:
        """Give the title and the summary of the release's card."""
        masks = isinstance(self.model, MaskEnhancer)
        way = "A mask on the noisy spectrogram" if masks else "The latent of clean speech, decoded"
        front_end = type(self.model.representation).__name__
        return {
            "title": "WavCube enhancer",
            "summary": f"{way}, estimated from {front_end}; made by a WavCube recipe. It knows the "
            "kinds of speech and noise that it was trained on.",
        }

    def _pick(self, role: str) -> list[Utterance]:
        """Choose the utterances of validation or test: long enough, and as many as asked for."""
        shortest = self.hparams["shortest_test"]
        rows = [row for row in self.rows[role] if row.duration >= shortest]
        if not rows:
            raise ValueError(f"no {role} utterance lasts {shortest} s: lower shortest_test")
        return evenly_spaced(rows, self.hparams[f"{role}_utterances"])

    def _test(self) -> Dataset:
        return self._whole("test", self._pick("test"))

    def _whole(self, role: str, rows: Sequence[Utterance]) -> Dataset:
        rate = self.model.sample_rate
        if isinstance(rows[0], NoisyPair):
            return PairDataset(rows, rate)
        # not the run's seed: runs of several seeds hear the same validation and test
        speech = utterance_dataset(rows, rate)
        return self._mixed(role, speech, self.hparams["mixing_seed"] + ROLES.index(role))

    def _mixed(self, role: str, speech: Dataset, seed: int) -> NoisyDataset:
        return NoisyDataset(
            speech,
            self.noises[role],
            sample_rate=self.model.sample_rate,
            seed=seed,
            snr_db=tuple(self.hparams["snr_db"]),
            rooms=self.rooms[role],
            room_probability=self.hparams["room_probability"],
        )
