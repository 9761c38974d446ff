"""Masked prediction of cluster targets: pretraining of the small SSL encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from speechbrain import Stage
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.utils.checkpoints import Checkpointer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from wavcube.lobes.lengths import ceil_division, length_mask, to_absolute
from wavcube.lobes.ssl.encoder import SSLEncoder
from wavcube.losses.combine import masked_mean
from wavcube.pretraining.cluster_targets import ClusterTargets
from wavcube.pretraining.corruption import Corruption
from wavcube.training.brain import GuardedBrain, unwrap
from wavcube.training.distributed import same_everywhere
from wavcube.training.run_logger import RunLogger
from wavcube.training.settings import TrainingSettings


def span_mask(num_frames: Tensor, size: int, probability: float, span: int) -> Tensor:
    """Draw the frames to hide: spans that start anywhere and may overlap.

    Parameters
    ----------
    num_frames : Tensor
        Valid frames `[B]`.
    size : int
        Padded frames N.
    probability : float
        Of a frame to start a span.
    span : int
        Frames.

    Returns
    -------
    Tensor
        Booleans `[B, N]`; every item has a hidden frame, no padding is hidden.

    Examples
    --------
    >>> bool(span_mask(torch.tensor([9]), 10, 1.0, 3)[0, -1])
    False
    """
    valid = length_mask(num_frames, size)
    starts = torch.rand(valid.shape, device=valid.device) < probability
    certain = (torch.rand(len(valid), device=valid.device) * num_frames).long()
    starts[torch.arange(len(valid)), certain] = True
    hidden = F.max_pool1d(F.pad(starts.float()[:, None], (span - 1, 0)), span, stride=1)
    return hidden.squeeze(1).bool() & valid


@dataclass(frozen=True, kw_only=True)
class PretrainingSettings(TrainingSettings):
    """One round of pretraining.

    Parameters
    ----------
    updates, name, warmup, lr_schedule, ema_decay, best_metric, best_is_highest, max_rollbacks, \
    log_every, shard_optimizer
        As :class:`~wavcube.training.settings.TrainingSettings` has them.
    clusters : int
        Classes to predict.
    layer : int
        Layer of the encoder whose clusters they are; 0 takes cepstra (the first round).
    mask_probability : float
        Of a frame to start a hidden span.
    mask_span : int
        Frames of a span.
    visible_weight : float
        Of the loss on frames that are not hidden.

    Examples
    --------
    >>> PretrainingSettings(updates=10, clusters=4).mask_span
    10
    """

    clusters: int
    layer: int = 0
    mask_probability: float = 0.065
    mask_span: int = 10
    visible_weight: float = 1.0


@dataclass
class MaskedPrediction:
    """Logits and targets of a batch.

    Attributes
    ----------
    logits : Tensor
        `[B, N, K]`.
    classes : Tensor
        `[B, N]`.
    hidden, visible : Tensor
        Booleans `[B, N]`; neither is true in the padding.
    """

    logits: Tensor
    classes: Tensor
    hidden: Tensor
    visible: Tensor


class PretrainingBrain(GuardedBrain):
    """Predict the clusters of hidden and of visible frames from corrupted speech.

    HuBERT leaves the visible frames out. At minutes of CPU instead of days of GPU their share is
    what gets the encoder off the ground, and the corrupted input keeps it from being trivial.

    Parameters
    ----------
    encoder : SSLEncoder
        What is trained.
    targets : ClusterTargets
        With its centroids.
    settings : PretrainingSettings
        The round.
    corruption : Corruption, optional
        Of the input in training.
    speed : nn.Module, optional
        Changes the speed of waveforms `[B, T]` in training, targets included: more voices.
    opt_class, hparams, run_opts, checkpointer, journal
        See :class:`~wavcube.training.brain.GuardedBrain`.

    Examples
    --------
    >>> from wavcube.pretraining.cluster_targets import CepstralFeatures
    >>> from wavcube.testing import tiny_ssl_encoder
    >>> targets = ClusterTargets(CepstralFeatures(16000, 320), 4)
    >>> targets.fit([(torch.randn(2, 3200), torch.tensor([3200, 3200]))])
    >>> settings = PretrainingSettings(updates=1, clusters=4)
    >>> brain = PretrainingBrain(tiny_ssl_encoder(), targets, settings,
    ...     opt_class=torch.optim.AdamW, run_opts={"device": "cpu"})
    >>> brain.on_fit_start()
    >>> loss = brain.fit_batch(PaddedBatch([{"wav": torch.randn(3200)}]))
    >>> brain.optimizer_step
    1
    """

    settings: PretrainingSettings

    def __init__(
        self,
        encoder: SSLEncoder,
        targets: ClusterTargets,
        settings: PretrainingSettings,
        corruption: Corruption | None = None,
        speed: nn.Module | None = None,
        opt_class: Callable[..., Optimizer] | None = None,
        hparams: Mapping[str, Any] | None = None,
        run_opts: Mapping[str, Any] | None = None,
        checkpointer: Checkpointer | None = None,
        journal: RunLogger | None = None,
    ) -> None:
        predictor = nn.Linear(encoder.dim, settings.clusters)
        modules = {"encoder": encoder, "predictor": predictor}
        super().__init__(
            modules, opt_class, hparams, run_opts, checkpointer, settings=settings, journal=journal
        )
        self.targets = targets.to(self.device)
        same_everywhere(self.targets)
        self.corruption, self.speed = corruption, speed

    def stateful(self) -> dict[str, Any]:
        """Everything that a checkpoint holds: the centroids too."""
        return {**super().stateful(), "targets": self.targets}

    def compute_forward(self, batch: PaddedBatch, stage: Stage) -> MaskedPrediction:
        """Hide, corrupt and predict.

        Parameters
        ----------
        batch : PaddedBatch
            With `wav`: waveforms `[B, T]` and relative lengths.
        stage : Stage
            Only training corrupts its input.
        """
        wavs, lens = batch.to(self.device).wav
        if stage == Stage.TRAIN and self.speed is not None:
            wavs = self.speed(wavs)
        samples = to_absolute(lens, wavs.shape[1], len(wavs), wavs.device)
        classes = self.targets(wavs, samples)
        hop, settings = unwrap(self.modules.encoder).hop, self.settings
        frames = ceil_division(samples, hop)
        hidden = span_mask(frames, classes.shape[1], settings.mask_probability, settings.mask_span)
        if stage == Stage.TRAIN and self.corruption is not None:
            wavs = self.corruption(wavs)
        feature = self.modules.encoder(wavs, samples, span_mask=hidden).feature
        visible = length_mask(frames, classes.shape[1]) & ~hidden
        return MaskedPrediction(self.modules.predictor(feature), classes, hidden, visible)

    def compute_objectives(
        self, predictions: MaskedPrediction, batch: PaddedBatch, stage: Stage
    ) -> Tensor:
        """Give the cross-entropy of the hidden and, weighted, of the visible frames.

        Parameters
        ----------
        predictions : MaskedPrediction
            Of :meth:`compute_forward`.
        batch : PaddedBatch
            Not needed.
        stage : Stage
            Training notes the terms, the rest scores each utterance.
        """
        del batch
        logits = predictions.logits.float().transpose(1, 2)
        entropies = F.cross_entropy(logits, predictions.classes, reduction="none")
        terms = {
            # an utterance of a few frames may be hidden as a whole, and this then be zero
            name: masked_mean(entropies, frames)
            for name, frames in (("hidden", predictions.hidden), ("visible", predictions.visible))
        }
        if stage == Stage.TRAIN:
            self.log(terms)
        else:
            self._score(predictions)
        return terms["hidden"] + self.settings.visible_weight * terms["visible"]

    def _score(self, predictions: MaskedPrediction) -> None:
        right = predictions.logits.argmax(-1) == predictions.classes
        for row, frames in zip(right, predictions.hidden, strict=True):
            self.score({"accuracy": float(row[frames].float().mean())})
