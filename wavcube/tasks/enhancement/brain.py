"""Training of enhancers: masks by SUPERB-SG's loss, or latents of clean speech."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from speechbrain import Stage
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.utils.checkpoints import Checkpointer
from torch import Tensor
from torch.optim import Optimizer

from wavcube.lobes.lengths import length_mask, to_absolute
from wavcube.losses import MelLoss, phase_sensitive_loss, semantic_loss, weighted_sum
from wavcube.metrics import score_pair
from wavcube.tasks.brain import TaskBrain, TaskSettings
from wavcube.tasks.enhancement.model import Enhancer, LatentEnhancer, MaskEnhancer
from wavcube.training.run_logger import Journal

# each enhancer's own loss term; the log-mel distance of the result goes with any
OWN_TERM = {MaskEnhancer: "phase_sensitive", LatentEnhancer: "latent"}
MEL = "mel"


@dataclass(frozen=True, kw_only=True)
class EnhancementSettings(TaskSettings):
    """How an enhancer trains.

    Parameters
    ----------
    updates, name, warmup, lr_falls, lr_straight, ema_decay, best_metric, best_is_highest
        See :class:`~wavcube.tasks.brain.TaskSettings`.
    max_rollbacks, log_every, shard_optimizer, lr
        See there.
    weights : Mapping of str to float
        Weight of each loss term that is on: "phase_sensitive" for a MaskEnhancer, "latent" for a
        LatentEnhancer, and for either "mel", the log-mel distance of what it gives.

    Examples
    --------
    >>> EnhancementSettings(updates=10, lr=1e-3, weights={"phase_sensitive": 1.0}).best_metric
    'loss'
    """

    weights: Mapping[str, float]


class EnhancementBrain(TaskBrain):
    """Train an enhancer on pairs of noisy and clean speech.

    Batches have `wav`, the noisy speech, and `clean`. Where the representation is fine-tuned, the
    clean latents to reach are those of a frozen copy, as its decoder knows them.

    Parameters
    ----------
    model : Enhancer
        A MaskEnhancer or a LatentEnhancer.
    settings : EnhancementSettings
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
    >>> head = MaskHead(8, stride=320, hidden_dim=4, num_layers=1)
    >>> settings = EnhancementSettings(updates=1, lr=1e-3, weights={"phase_sensitive": 1.0})
    >>> brain = EnhancementBrain(MaskEnhancer(MelRepresentation(num_mel_bins=4), head), settings,
    ...     opt_class=torch.optim.AdamW, run_opts={"device": "cpu"})
    >>> brain.on_fit_start()
    >>> batch = PaddedBatch([{"wav": torch.randn(1600), "clean": torch.randn(1600)}])
    >>> bool(brain.fit_batch(batch) > 0), brain.optimizer_step
    (True, 1)
    """

    SCORES: ClassVar[Mapping[str, bool]] = {
        "loss": False,
        "mel": False,
        "si_sdr": True,
        "stoi": True,
        "estoi": True,
        "pesq_wb": True,
    }

    def __init__(
        self,
        model: Enhancer,
        settings: EnhancementSettings,
        opt_class: Callable[..., Optimizer] | None = None,
        hparams: Mapping[str, Any] | None = None,
        run_opts: Mapping[str, Any] | None = None,
        checkpointer: Checkpointer | None = None,
        journal: Journal | None = None,
    ) -> None:
        known = {OWN_TERM[type(model)], MEL}
        if not settings.weights or not known.issuperset(settings.weights):
            raise ValueError(
                f"a {type(model).__name__} learns by {sorted(known)}, not by the loss terms "
                f"{sorted(settings.weights)}"
            )
        super().__init__(model, settings, opt_class, hparams, run_opts, checkpointer, journal)
        self.mel_distance = MelLoss(model.sample_rate).to(self.device)
        self.target = model.representation
        if not self.target.is_frozen:
            self.target = copy.deepcopy(self.target).requires_grad_(False)

    def compute_forward(self, batch: PaddedBatch, stage: Stage) -> Tensor:
        """Estimate masks or latents.

        Parameters
        ----------
        batch : PaddedBatch
            With `wav`: noisy speech `[B, T]` and relative lengths `[B]`.
        stage : Stage
            Of the experiment.
        """
        del stage
        return self.modules.model(*batch.to(self.device).wav, rendered=False)

    def compute_objectives(self, predictions: Tensor, batch: PaddedBatch, stage: Stage) -> Tensor:
        """Give the weighted loss, and score each utterance outside training.

        Parameters
        ----------
        predictions : Tensor
            Of :meth:`compute_forward`.
        batch : PaddedBatch
            With `clean` speech too.
        stage : Stage
            Of the experiment.
        """
        noisy, lens = batch.to(self.device).wav
        clean, _ = batch.clean
        samples = to_absolute(lens, noisy.shape[1], len(noisy), noisy.device)
        terms, weights = {}, self.settings.weights
        if "phase_sensitive" in weights:
            terms["phase_sensitive"] = self._phase_sensitive(predictions, noisy, clean, samples)
        if "latent" in weights:
            terms["latent"] = self._latent(predictions, clean, lens)
        if MEL in weights or stage != Stage.TRAIN:
            enhanced = self.model.render(predictions, noisy, samples)
        if MEL in weights:
            terms[MEL] = self.mel_distance(enhanced, clean, samples)
        if stage != Stage.TRAIN:
            self._score(enhanced, clean, samples, batch.id)
        self.note(terms)
        return weighted_sum(terms, weights)

    def _phase_sensitive(
        self, masks: Tensor, noisy: Tensor, clean: Tensor, samples: Tensor
    ) -> Tensor:
        spectrogram = self.model.head.spectrogram
        mixture, target = (spectrogram(wavs, samples) for wavs in (noisy, clean))
        frames = spectrogram.num_frames(samples)
        return phase_sensitive_loss(masks[:, None], mixture, target[:, None], frames)

    def _latent(self, latents: Tensor, clean: Tensor, lens: Tensor) -> Tensor:
        with torch.no_grad():
            target, lens = self.target(clean, lens)
        frames = to_absolute(lens, target.shape[1], len(target), target.device)
        return semantic_loss(latents, target, length_mask(frames, target.shape[1]))

    def _score(self, enhanced: Tensor, clean: Tensor, samples: Tensor, names: list[str]) -> None:
        """Score each utterance on its own, so that batches do not matter."""
        wanted = list({"si_sdr", self.settings.best_metric} - {"loss", MEL})
        for place, size in enumerate(samples.tolist()):
            made, reference = enhanced[place, :size], clean[place, :size]
            self.score({MEL: float(self.mel_distance(made[None], reference[None]))})
            pair = (wav.float().cpu().numpy() for wav in (reference, made))
            scores = score_pair(*pair, self.model.sample_rate, wanted)
            self.score(scores)
            for reason in scores.failures.values():
                self.note_unscored(names[place], reason)
