"""Training of separators: what a source is called has no meaning, so the best assignment counts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from speechbrain import Stage
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.utils.checkpoints import Checkpointer
from torch import Tensor
from torch.optim import Optimizer

from wavcube.lobes.lengths import length_mask, to_absolute
from wavcube.losses import permutation_invariant, weighted_sum
from wavcube.losses.mel import LogMelSpectrogram
from wavcube.losses.phase_sensitive import pairwise_phase_sensitive, phase_sensitive_target
from wavcube.losses.separation import pairwise_latent, pairwise_mel, pairwise_si_sdr
from wavcube.metrics import best_permutation, score_pair, si_sdr_table
from wavcube.tasks.brain import TaskBrain, TaskSettings
from wavcube.tasks.separation.model import (
    LatentSeparator,
    MaskSeparator,
    Separator,
    WaveformSeparator,
)
from wavcube.training.run_logger import Journal

PHASE_SENSITIVE, SI_SDR, LATENT, MEL = "phase_sensitive", "si_sdr", "latent", "mel"
TERMS = {
    MaskSeparator: {PHASE_SENSITIVE, SI_SDR},
    LatentSeparator: {LATENT, MEL},
    WaveformSeparator: {SI_SDR},
}
IMPROVEMENT = "si_sdr_improvement"


@dataclass(frozen=True, kw_only=True)
class SeparationSettings(TaskSettings):
    """How a separator trains.

    Parameters
    ----------
    updates, name, warmup, lr_falls, lr_straight, ema_decay, best_metric, best_is_highest
        See :class:`~wavcube.tasks.brain.TaskSettings`.
    max_rollbacks, log_every, shard_optimizer, lr
        See there.
    weights : Mapping of str to float
        Weight of each loss term that is on: "phase_sensitive" (SUPERB-SG's) and "si_sdr" for a
        MaskSeparator, "si_sdr" for a WaveformSeparator, "latent" and "mel", the log-mel distance
        of what is decoded, for a LatentSeparator. Terms are added before the assignment is chosen,
        so that all have the same one.

    Examples
    --------
    >>> SeparationSettings(updates=10, lr=1e-3, weights={"si_sdr": 1.0}).best_metric
    'loss'
    """

    weights: Mapping[str, float]


class SeparationBrain(TaskBrain):
    """Train a separator on mixtures and their sources.

    Batches have `wav`, the mixtures, and `sources`, `[T, S]` each. Where the representation is
    fine-tuned, the latents to reach are those of a frozen copy, as its decoder knows them.
    Validation finds one permutation, by SI-SDR, for all that it measures.

    Parameters
    ----------
    model : Separator
        Any of the three.
    settings : SeparationSettings
        With the loss terms; its best metric is one of ``SCORES``.
    opt_class, hparams, run_opts, checkpointer, journal
        See :class:`~wavcube.training.brain.GuardedBrain`.

    Raises
    ------
    ValueError
        If a loss term is not the model's, there is none, or the best metric is unknown.

    Examples
    --------
    >>> from wavcube.lobes.layers.mask_head import MaskHead
    >>> from wavcube.representations import MelRepresentation
    >>> head = MaskHead(8, stride=320, num_sources=2, hidden_dim=4, num_layers=1)
    >>> settings = SeparationSettings(updates=1, lr=1e-3, weights={"phase_sensitive": 1.0})
    >>> brain = SeparationBrain(MaskSeparator(MelRepresentation(num_mel_bins=4), head), settings,
    ...     opt_class=torch.optim.AdamW, run_opts={"device": "cpu"})
    >>> brain.on_fit_start()
    >>> sources = torch.randn(1600, 2)
    >>> batch = PaddedBatch([{"wav": sources.sum(1), "sources": sources}])
    >>> bool(brain.fit_batch(batch) > 0), brain.optimizer_step
    (True, 1)
    """

    SCORES: ClassVar[Mapping[str, bool]] = {
        "loss": False,
        SI_SDR: True,
        IMPROVEMENT: True,
        "stoi": True,
        "estoi": True,
        "pesq_wb": True,
    }
    ITEMS: ClassVar[str] = "mixtures"

    def __init__(
        self,
        model: Separator,
        settings: SeparationSettings,
        opt_class: Callable[..., Optimizer] | None = None,
        hparams: Mapping[str, Any] | None = None,
        run_opts: Mapping[str, Any] | None = None,
        checkpointer: Checkpointer | None = None,
        journal: Journal | None = None,
    ) -> None:
        known = TERMS[type(model)]
        if not settings.weights or not known.issuperset(settings.weights):
            raise ValueError(
                f"a {type(model).__name__} learns by {sorted(known)}, not by the loss terms "
                f"{sorted(settings.weights)}"
            )
        super().__init__(model, settings, opt_class, hparams, run_opts, checkpointer, journal)
        self.log_mel = LogMelSpectrogram(model.sample_rate).to(self.device)
        self.target = model.representation
        if not self.target.is_frozen:
            self.target = copy.deepcopy(self.target).requires_grad_(False)

    def compute_forward(self, batch: PaddedBatch, stage: Stage) -> Tensor:
        """Estimate masks, latents or waveforms.

        Parameters
        ----------
        batch : PaddedBatch
            With `wav`: mixtures `[B, T]` and relative lengths `[B]`.
        stage : Stage
            Of the experiment.
        """
        del stage
        return self.modules.model(*batch.to(self.device).wav, rendered=False)

    def compute_objectives(self, predictions: Tensor, batch: PaddedBatch, stage: Stage) -> Tensor:
        """Give the loss of the best assignment, and score each mixture outside training.

        Parameters
        ----------
        predictions : Tensor
            Of :meth:`compute_forward`.
        batch : PaddedBatch
            With `sources` too, `[B, T, S]`.
        stage : Stage
            Of the experiment.
        """
        mixtures, lens = batch.to(self.device).wav
        sources = batch.sources.data.transpose(1, 2)
        samples = to_absolute(lens, mixtures.shape[1], len(mixtures), mixtures.device)
        terms, weights = {}, self.settings.weights
        if PHASE_SENSITIVE in weights:
            terms[PHASE_SENSITIVE] = self._phase_sensitive(predictions, mixtures, sources, samples)
        if LATENT in weights:
            terms[LATENT] = self._latent(predictions, sources, lens)
        if {SI_SDR, MEL} & weights.keys() or stage != Stage.TRAIN:
            separated = self.model.render(predictions, mixtures, samples)
        if SI_SDR in weights:
            terms[SI_SDR] = pairwise_si_sdr(separated, sources, samples)
        if MEL in weights:
            terms[MEL] = pairwise_mel(self.log_mel, separated, sources, samples)
        if stage != Stage.TRAIN:
            self._score(mixtures, sources, separated, samples, batch.id)
        self.note({name: permutation_invariant(term.detach()) for name, term in terms.items()})
        return permutation_invariant(weighted_sum(terms, weights))

    def _phase_sensitive(
        self, masks: Tensor, mixtures: Tensor, sources: Tensor, samples: Tensor
    ) -> Tensor:
        spectrogram, count = self.model.head.spectrogram, sources.shape[1]
        mixture = spectrogram(mixtures, samples)
        spectra = spectrogram(sources.flatten(0, 1), samples.repeat_interleave(count))
        target = phase_sensitive_target(mixture, spectra.unflatten(0, (-1, count)))
        frames = spectrogram.num_frames(samples)
        return pairwise_phase_sensitive(masks, target, magnitude=mixture.abs(), num_frames=frames)

    def _latent(self, latents: Tensor, sources: Tensor, lens: Tensor) -> Tensor:
        count = sources.shape[1]
        with torch.no_grad():
            target, own = self.target(sources.flatten(0, 1), lens.repeat_interleave(count))
        frames = to_absolute(own[::count], target.shape[1], len(latents), target.device)
        mask = length_mask(frames, target.shape[1])
        return pairwise_latent(latents, target.unflatten(0, (-1, count)), mask)

    def _score(
        self,
        mixtures: Tensor,
        sources: Tensor,
        separated: Tensor,
        samples: Tensor,
        names: list[str],
    ) -> None:
        """Score each mixture on its own, so that batches do not matter."""
        wanted = sorted({self.settings.best_metric} - {"loss", SI_SDR, IMPROVEMENT})
        for place, size in enumerate(samples.tolist()):
            mixture, truth, made = (
                wavs[place, ..., :size].float().cpu().numpy()
                for wavs in (mixtures, sources, separated)
            )
            made = made[list(best_permutation(truth, made))]
            reached = float(np.diag(si_sdr_table(truth, made)).mean())
            before = float(si_sdr_table(truth, mixture[None]).mean())
            self.score({SI_SDR: reached, IMPROVEMENT: reached - before})
            if not wanted:
                continue
            found = [
                score_pair(reference, wav, self.model.sample_rate, wanted)
                for reference, wav in zip(truth, made, strict=True)
            ]
            failures = [reason for scores in found for reason in scores.failures.values()]
            if failures:
                self.note_unscored(names[place], failures[0])
                continue
            self.score(
                {name: float(np.mean([scores[name] for scores in found])) for name in wanted}
            )
