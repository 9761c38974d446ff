"""The family of tasks that make waveforms of a waveform: n sources, scored beside their originals.

Enhancement is the case of one source: the same loss, with nothing to assign.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from speechbrain.dataio.batch import PaddedBatch
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm import tqdm

from wavcube.experiment.report import Resynthesis, check_best_metric, write_samples
from wavcube.inference.inspection import require_matplotlib
from wavcube.lobes.layers.latent_map import LatentHead
from wavcube.lobes.layers.spectrogram import MaskHead, Spectrogram
from wavcube.lobes.lengths import length_mask, to_absolute
from wavcube.losses.mel import LogMelSpectrogram
from wavcube.losses.separation import (
    assigned,
    asteroid_losses,
    best_assignment,
    pairwise_latent,
    pairwise_mel,
    pairwise_phase_sensitive,
    pairwise_si_sdr,
    phase_sensitive_target,
)
from wavcube.metrics import (
    Metric,
    PairScores,
    SignalPair,
    Summary,
    aggregate,
    best_permutation,
    score_many,
    score_pair,
    si_sdr_table,
)
from wavcube.metrics.base import Measurement
from wavcube.metrics.scores import INFOS
from wavcube.representations.base import Representation
from wavcube.representations.latent import LatentRepresentation
from wavcube.tasks.model import TaskModel
from wavcube.tasks.task import ItemScores, Splits, Task, TaskSettings

# names of the loss terms
PHASE_SENSITIVE, SI_SDR, LATENT, MEL = "phase_sensitive", "si_sdr", "latent", "mel"


class SignalModel(TaskModel):
    """A waveform to the sources that it is made of; their order has no meaning.

    A subclass gives :meth:`estimate`, what its loss looks at, and :meth:`render`.
    """

    # the loss terms that it can learn by
    terms: ClassVar[frozenset[str]]

    @property
    def num_sources(self) -> int:
        """Sources that a waveform is taken apart into."""
        return self.head.num_sources

    def estimate(self, wavs: Tensor, wav_lens: Tensor | None, num_samples: Tensor) -> Tensor:
        """Estimate the sources in the head's own terms.

        Parameters
        ----------
        wavs : Tensor
            What is heard, `[B, T]` at `sample_rate`.
        wav_lens : Tensor, optional
            Relative lengths `[B]`.
        num_samples : Tensor
            The same in samples `[B]`.

        Returns
        -------
        Tensor
            `[B, S, ...]`: masks, latents or waveforms.
        """
        raise NotImplementedError

    def render(self, estimates: Tensor, wavs: Tensor, num_samples: Tensor) -> Tensor:
        """Make waveforms of what was estimated.

        Parameters
        ----------
        estimates : Tensor
            Of :meth:`estimate`.
        wavs : Tensor
            What is heard, `[B, T]`.
        num_samples : Tensor
            Samples of each `[B]`.

        Returns
        -------
        Tensor
            `[B, S, T]`, exactly as long as what is heard; zero after an item's own samples.
        """
        raise NotImplementedError

    def forward(
        self, wavs: Tensor, wav_lens: Tensor | None = None, rendered: bool = True
    ) -> Tensor:
        """Take waveforms apart.

        Parameters
        ----------
        wavs : Tensor
            What is heard, `[B, T]` at `sample_rate`. What lies beyond an item's length is ignored.
        wav_lens : Tensor, optional
            Relative lengths `[B]` in (0, 1]; by default every item fills the batch.
        rendered : bool
            Give waveforms; otherwise what :meth:`estimate` gives, for a loss.

        Returns
        -------
        Tensor
            `[B, S, T]`, zero after an item's own samples.
        """
        num_samples = to_absolute(wav_lens, wavs.shape[1], len(wavs), wavs.device)
        estimates = self.estimate(wavs, wav_lens, num_samples)
        return self.render(estimates, wavs, num_samples) if rendered else estimates


class MaskModel(SignalModel):
    """Masks on the spectrogram of what is heard, whose phase the sources keep.

    Parameters
    ----------
    representation : Representation
        Any.
    head : MaskHead
        Of its width and hop, with a mask for each source.

    Raises
    ------
    ValueError
        If width or hop differ.
    """

    terms = frozenset({PHASE_SENSITIVE, SI_SDR, MEL})

    def __init__(self, representation: Representation, head: MaskHead) -> None:
        super().__init__(representation, head)
        wanted, given = (head.input_dim, head.stride), (representation.dim, representation.hop)
        if wanted != given:
            raise ValueError(
                f"the head takes features of width {wanted[0]} every {wanted[1]} samples, the "
                f"representation gives width {given[0]} every {given[1]}"
            )

    def estimate(self, wavs: Tensor, wav_lens: Tensor | None, num_samples: Tensor) -> Tensor:
        """Estimate masks `[B, S, M, F]`; see the base class."""
        features, lens = self.representation(wavs, wav_lens)
        return self.head(features, num_samples, lens, wavs)

    def render(self, estimates: Tensor, wavs: Tensor, num_samples: Tensor) -> Tensor:
        """Apply masks; see the base class."""
        return self.head.separate(wavs, num_samples, estimates)


class LatentModel(SignalModel):
    """The latent of what is heard to a clean one for each source, which is decoded.

    Nothing of the waveform is kept, its phase included.

    Parameters
    ----------
    representation : LatentRepresentation
        With its decoder.
    head : LatentHead
        Of the latent's width.

    Raises
    ------
    ValueError
        If the representation has no decoder, or the widths differ.
    """

    terms = frozenset({LATENT, MEL})

    def __init__(self, representation: LatentRepresentation, head: LatentHead) -> None:
        super().__init__(representation, head)
        if not isinstance(representation, LatentRepresentation):
            raise ValueError(
                "a clean latent is estimated only where a decoder can synthesise it: take the "
                f"representation wavcube, not {type(representation).__name__}, or a mask head"
            )
        if head.latent_dim != representation.dim:
            raise ValueError(
                f"the head maps latents of width {head.latent_dim}, the representation gives "
                f"width {representation.dim}"
            )

    def estimate(self, wavs: Tensor, wav_lens: Tensor | None, num_samples: Tensor) -> Tensor:
        """Estimate latents `[B, S, N, D]`; see the base class."""
        del num_samples
        return self.head(*self.representation(wavs, wav_lens))

    def render(self, estimates: Tensor, wavs: Tensor, num_samples: Tensor) -> Tensor:
        """Decode; see the base class."""
        samples = num_samples.repeat_interleave(self.num_sources).tolist()
        frames = torch.tensor([self.representation.num_frames(n) for n in samples])
        lens = (frames / estimates.shape[2]).to(estimates.device)
        decoded = self.representation.model.decode(estimates.flatten(0, 1), lens, length=samples)
        padding = (0, wavs.shape[1] - decoded.shape[1])
        return nn.functional.pad(decoded, padding).unflatten(0, (-1, self.num_sources))


IMPROVEMENT = "si_sdr_improvement"


class SignalTask(Task[SignalModel]):
    """A task whose results are waveforms, scored beside their originals and what was heard.

    Datasets have `wav`, what is heard, and `sources`, `[T, S]` each. Where the representation is
    fine-tuned, the latents to reach are those of a frozen copy, as its decoder knows them. Loss
    terms are added before the assignment is chosen, so that all have the same one; validation
    finds one by SI-SDR for all that it measures. Every item is scored on its own.
    """

    metrics: ClassVar[Mapping[str, Literal["max", "min"]]] = {
        MEL: "min", SI_SDR: "max", IMPROVEMENT: "max",
        "stoi": "max", "estoi": "max", "pesq_wb": "max",
    }  # fmt: skip
    # by the class of the YAML's head
    models: ClassVar[Mapping[type[nn.Module], type[SignalModel]]]
    # the table's row of what is heard
    heard: ClassVar[str]

    def build(self, representation: Representation) -> SignalModel:
        """Build the model of the YAML's head.

        Parameters
        ----------
        representation : Representation
            The YAML's.
        """
        head = self.hparams["head"]
        kinds = [kind for given, kind in self.models.items() if isinstance(head, given)]
        if not kinds:
            known = ", ".join(given.__name__ for given in self.models)
            raise ValueError(f"head is a {type(head).__name__}: {self.name} takes {known}")
        return kinds[0](representation, head)

    def check(self, model: SignalModel, rows: Splits) -> None:
        """Refuse a best_metric that fails, and to begin without a package that is needed."""
        del rows
        settings = self.hparams["settings"]
        metric = check_best_metric(settings.best_metric, self.metrics, model.sample_rate)
        self.hparams["settings"] = replace(settings, best_metric=metric)
        require_matplotlib()
        if model.num_sources > 1:
            asteroid_losses()

    def prepare_training(self, model: SignalModel, settings: TaskSettings) -> None:
        """Check the weights against the model, and keep the representation that is aimed at.

        Parameters
        ----------
        model : SignalModel
            On its device.
        settings : TaskSettings
            With a weight for each loss term that is on.

        Raises
        ------
        ValueError
            If there is none, or one that the model does not have.
        """
        self.weights = settings.weights or {}
        if not self.weights or not model.terms.issuperset(self.weights):
            raise ValueError(
                f"a {type(model).__name__} learns by {sorted(model.terms)}, not by the loss terms "
                f"{sorted(self.weights)}"
            )
        self.best_metric = settings.best_metric
        self.log_mel = LogMelSpectrogram(model.sample_rate).to(self.device)
        self.target = model.representation
        if not self.target.is_frozen:
            self.target = copy.deepcopy(self.target).requires_grad_(False)

    def sources(self, batch: PaddedBatch) -> Tensor:
        """Give the true sources of a batch, `[B, S, T]`."""
        return batch.sources.data.transpose(1, 2)

    def forward(self, model: SignalModel, batch: PaddedBatch) -> Tensor:
        """Estimate masks, latents or waveforms."""
        return model(*batch.wav, rendered=False)

    def rendered(self, model: SignalModel, batch: PaddedBatch, samples: Tensor) -> Tensor:
        """Make waveforms of a batch, once for loss and scores together."""
        estimates = self.predict(model, batch)
        return self.once(
            batch, "rendered", lambda: model.render(estimates, batch.wav.data, samples)
        )

    def loss(self, model: SignalModel, batch: PaddedBatch) -> dict[str, Tensor]:
        """Compute the terms that have weights, of the assignment that is best for their sum."""
        wavs, lens = batch.wav
        sources, samples = self.sources(batch), _samples(batch)
        estimates = self.predict(model, batch)
        pairwise: dict[str, Tensor] = {}
        if PHASE_SENSITIVE in self.weights:
            settings = model.head.spectrogram, estimates, wavs, sources, samples
            pairwise[PHASE_SENSITIVE] = _phase_sensitive(*settings)
        if LATENT in self.weights:
            pairwise[LATENT] = self._latent(estimates, sources, lens)
        if SI_SDR in self.weights:
            made = self.rendered(model, batch, samples)
            pairwise[SI_SDR] = pairwise_si_sdr(made, sources, samples)
        if MEL in self.weights:
            made = self.rendered(model, batch, samples)
            pairwise[MEL] = pairwise_mel(self.log_mel, made, sources, samples)
        weighted = [self.weights[name] * term for name, term in pairwise.items()]
        best = best_assignment(reduce(torch.add, weighted))
        return {name: assigned(term, best) for name, term in pairwise.items()}

    def _latent(self, latents: Tensor, sources: Tensor, lens: Tensor) -> Tensor:
        count = sources.shape[1]
        with torch.no_grad():
            target, own = self.target(sources.flatten(0, 1), lens.repeat_interleave(count))
        frames = to_absolute(own[::count], target.shape[1], len(latents), target.device)
        mask = length_mask(frames, target.shape[1])
        return pairwise_latent(latents, target.unflatten(0, (-1, count)), mask)

    def scores(self, model: SignalModel, batch: PaddedBatch) -> Iterator[ItemScores]:
        """Score each item under the permutation of the highest SI-SDR."""
        sources, samples = self.sources(batch), _samples(batch)
        made = self.rendered(model, batch, samples)
        wanted = sorted({self.best_metric} - {"loss", MEL, SI_SDR, IMPROVEMENT})
        for place, size in enumerate(samples.tolist()):
            heard, truth, found = (
                wavs[place, ..., :size].float() for wavs in (batch.wav.data, sources, made)
            )
            order = list(best_permutation(truth.cpu().numpy(), found.cpu().numpy()))
            yield self._score(heard, truth, found[order], model.sample_rate, wanted)

    def _score(
        self, heard: Tensor, truth: Tensor, made: Tensor, sample_rate: int, wanted: list[str]
    ) -> dict[str, float | str]:
        size = torch.tensor([truth.shape[1]], device=truth.device)
        distances = pairwise_mel(self.log_mel, made[None], truth[None], size)[0]
        before, after = (
            si_sdr_table(truth.cpu().numpy(), wavs.cpu().numpy()) for wavs in (heard[None], made)
        )
        reached = float(np.diag(after).mean())
        item: dict[str, float | str] = {
            MEL: float(distances.diagonal().mean()),
            SI_SDR: reached,
            IMPROVEMENT: reached - float(before.mean()),
        }
        pairs = zip(truth.cpu().numpy(), made.cpu().numpy(), strict=True)
        found = [score_pair(*pair, sample_rate, wanted) for pair in pairs] if wanted else []
        for name in wanted:
            reasons = [scores.failures[name] for scores in found if name in scores.failures]
            item[name] = reasons[0] if reasons else float(np.mean([one[name] for one in found]))
        return item

    def table_metrics(self) -> Sequence[str | Metric]:
        """Give what the table has; by default the metrics that the YAML names."""
        return self.hparams["metrics"]

    def baselines(self, model: SignalModel, rows: Splits) -> dict[str, dict[str, Summary]]:
        """Score what is heard, as if it were the result."""
        test: Any = self.dataset(model, rows["test"], "test")
        self._waveforms: dict[str, np.ndarray] = {}
        heard = Resynthesis(model.sample_rate)
        for item in (test[index] for index in range(len(test))):
            name, wav = item["id"], item["wav"].numpy()
            self._waveforms[name] = wav
            truth = self.sources(PaddedBatch([item]))[0].numpy()
            for key, source in zip(_names(name, len(truth)), truth, strict=True):
                heard.originals[key], heard.copies[key] = source, wav
        self.results = {self.heard: heard}
        self._before = self._score_pairs(heard)
        return {self.heard: aggregate(self._before)}

    @torch.no_grad()
    def evaluate(self, model: SignalModel, rows: Splits, label: str) -> dict[str, Summary]:
        """Take the test items apart one by one, as the class for users does, and score them.

        Parameters
        ----------
        model : SignalModel
            In eval mode, on its device.
        rows : dict of str to list
            Of :meth:`rows`.
        label : str
            Of the table's row.

        Returns
        -------
        dict of str to Summary
            The scores, and by how much they are better than those of what is heard.
        """
        originals = self.results[self.heard].originals
        result = Resynthesis(model.sample_rate, originals=originals)
        for name, wav in tqdm(self._waveforms.items(), desc=self.name, disable=not self.progress):
            made = model(torch.from_numpy(wav)[None].to(self.device))[0].float().cpu().numpy()
            made = np.atleast_2d(made)
            keys = _names(name, len(made))
            order = best_permutation(np.stack([originals[key] for key in keys]), made)
            result.copies.update(zip(keys, made[list(order)], strict=True))
        self.results[label] = result
        scores = self._score_pairs(result)
        return {**aggregate(scores), **gains(self._before, scores)}

    def samples(self, model: SignalModel, folder: Path) -> None:
        """Write some items: as they should be ("original"), came in and came out; and a picture."""
        write_samples(folder, self.results, self.hparams["sample_clips"])

    def _score_pairs(self, result: Resynthesis) -> list[PairScores]:
        pairs = [
            SignalPair(name, result.originals[name], copied, result.sample_rate)
            for name, copied in result.copies.items()
        ]
        processes = self.hparams["scoring_processes"]
        return score_many(pairs, self.table_metrics(), processes, self.progress)

    def loader_options(self, dataset: Dataset, role: str) -> dict[str, Any]:
        """Pad batches to their longest item: crops may be longer than most utterances."""
        return {**super().loader_options(dataset, role), "collate_fn": PaddedBatch}


def _samples(batch: PaddedBatch) -> Tensor:
    wavs, lens = batch.wav
    return to_absolute(lens, wavs.shape[1], len(wavs), wavs.device)


def _names(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}_s{place}" for place in range(1, count + 1)]


def _phase_sensitive(
    spectrogram: Spectrogram, masks: Tensor, wavs: Tensor, sources: Tensor, samples: Tensor
) -> Tensor:
    """Compare masked spectra with the sources' own, pair by pair (SUPERB-SG's loss)."""
    count = sources.shape[1]
    mixture = spectrogram(wavs, samples)
    spectra = spectrogram(sources.flatten(0, 1), samples.repeat_interleave(count))
    target = phase_sensitive_target(mixture, spectra.unflatten(0, (-1, count)))
    frames = spectrogram.num_frames(samples)
    return pairwise_phase_sensitive(masks, target, magnitude=mixture.abs(), num_frames=frames)


def gains(before: Sequence[PairScores], after: Sequence[PairScores]) -> dict[str, Summary]:
    """Summarise by how much each utterance has become better.

    Parameters
    ----------
    before, after : Sequence of PairScores
        Of the same utterances in the same order.

    Returns
    -------
    dict of str to Summary
        By the column's title. More is better, whichever direction the metric has.

    Examples
    --------
    >>> scores = [PairScores("a", 8000, {"mel_distance": Measurement(value)}) for value in (1, 0.4)]
    >>> gain = gains(scores[:1], scores[1:])
    >>> {title: summary.mean for title, summary in gain.items()}
    {'Log-mel distance gain [neper]': 0.6}
    """
    differences = []
    for first, second in zip(before, after, strict=True):
        changed = {}
        for key in second:
            if key in first:
                change = second[key] - first[key]
                sign = 1 if INFOS[key].better == "higher" else -1
                changed[key] = Measurement(sign * change)
        failures = {**first.failures, **second.failures}
        differences.append(PairScores(second.name, second.sample_rate, changed, failures))
    return {_title(key): summary for key, summary in aggregate(differences).items()}


def _title(key: str) -> str:
    info = INFOS[key]
    return f"{info.name} gain [{info.unit}]" if info.unit else f"{info.name} gain"
