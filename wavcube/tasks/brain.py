"""Training of a task's head on a representation, frozen or fine-tuned from some update on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from speechbrain import Stage
from speechbrain.utils.checkpoints import (
    Checkpointer,
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from torch import Tensor
from torch.optim import Optimizer

from wavcube.release.weights import load_strictly
from wavcube.tasks.model import TaskModel
from wavcube.training.brain import GuardedBrain, unwrap
from wavcube.training.collectives import gathered
from wavcube.training.run_logger import Journal
from wavcube.training.settings import TrainingSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TaskSettings(TrainingSettings):
    """How a head trains. Whether more of the best metric is better follows from the metric.

    Parameters
    ----------
    updates, name, warmup, lr_falls, lr_straight, ema_decay, best_metric, best_is_highest
        See :class:`~wavcube.training.settings.TrainingSettings`.
    max_rollbacks, log_every, shard_optimizer
        See there.
    lr : float
        Of the head; a representation that is fine-tuned has its own.

    Examples
    --------
    >>> TaskSettings(updates=1000, lr=1e-3, best_metric="wer").lr
    0.001
    """

    lr: float


class TaskBrain(GuardedBrain):
    """Train a task's model.

    A subclass gives ``compute_forward`` and ``compute_objectives``, and says by ``SCORES`` what its
    validation measures. The forward pass goes through ``self.modules.model``.

    Parameters
    ----------
    model : TaskModel
        Of the task.
    settings : TaskSettings
        Length, schedule and best metric.
    opt_class, hparams, run_opts, checkpointer, journal
        See :class:`~wavcube.training.brain.GuardedBrain`.

    Raises
    ------
    ValueError
        If the best metric is none of ``SCORES``.
    """

    # names of the validation's scores, and whether more of each is better
    SCORES: ClassVar[Mapping[str, bool]] = {"loss": False}
    # what is scored, for messages
    ITEMS: ClassVar[str] = "utterances"

    def __init__(
        self,
        model: TaskModel,
        settings: TaskSettings,
        opt_class: Callable[..., Optimizer] | None = None,
        hparams: Mapping[str, Any] | None = None,
        run_opts: Mapping[str, Any] | None = None,
        checkpointer: Checkpointer | None = None,
        journal: Journal | None = None,
    ) -> None:
        if settings.best_metric not in self.SCORES:
            raise ValueError(
                f"best_metric {settings.best_metric!r} is none of what this task's validation "
                f"measures: {sorted(self.SCORES)}"
            )
        settings = replace(settings, best_is_highest=self.SCORES[settings.best_metric])
        super().__init__(
            {"model": model},
            opt_class,
            hparams,
            run_opts,
            checkpointer,
            settings=settings,
            journal=journal,
        )

        self._unscored: dict[str, str] = {}

    @property
    def model(self) -> TaskModel:
        """The model without a wrapper."""
        return unwrap(self.modules.model)

    def trainable(self) -> dict[str, list[dict[str, Any]]]:
        """Give the head, the mix of states, and what is ever fine-tuned at its own rate."""
        lr, own = self.settings.lr, self.model.representation
        known = {id(parameter) for parameter in own.parameters()}
        # a head may have parameters that nothing is learned by
        rest = [p for p in self.model.parameters() if p.requires_grad and id(p) not in known]
        groups = [{"params": rest, "lr": lr, "name": "head"}]
        names = ["mix"] if own.mix is not None else []
        names += ["representation"]
        for name, group in zip(names, own.parameter_groups(lr), strict=False):
            groups.append({**group, "name": name})
        return {"generator": groups}

    def init_optimizers(self) -> None:
        """Build optimizer, schedule and average; of what is fine-tuned later too."""
        own = self.model.representation
        own.set_update(own.unfreeze_at or 0)
        super().init_optimizers()
        own.set_update(self.optimizer_step)

    def note_unscored(self, item: str, reason: str) -> None:
        """Record that an item of the validation has no score, and why."""
        self._unscored[item] = reason

    def gather_scores(self) -> None:
        """Collect what could not be scored, too."""
        super().gather_scores()
        for part in gathered(self._unscored):
            self._unscored |= part

    def on_stage_end(self, stage: Stage, stage_loss: float, epoch: int | None = None) -> None:
        """Take the means over a validation; a metric that no item has is not a number."""
        super().on_stage_end(stage, stage_loss, epoch)
        if stage == Stage.TRAIN:
            return
        if self._unscored:
            name, reason = next(iter(self._unscored.items()))
            count = len(self._unscored)
            logger.warning("%d %s have no score, such as %s: %s", count, self.ITEMS, name, reason)
            self._unscored = {}
        # then the run goes back to a checkpoint that has one, instead of keeping this one as best
        self.stage_scores.setdefault(self.settings.best_metric, float("nan"))

    def stateful(self) -> dict[str, Any]:
        """Everything that a checkpoint holds: of the model what is trained, and no more."""
        return {**super().stateful(), "model": TrainedWeights(self.model)}

    def on_fit_batch_start(self, batch: object, should_step: bool) -> None:
        """Freeze or unfreeze the representation for the update that begins."""
        super().on_fit_batch_start(batch, should_step)
        self.model.representation.set_update(self.optimizer_step)
        self.wrap_what_trains()


@register_checkpoint_hooks
class TrainedWeights:
    """The part of a model's state that its training changes.

    Parameters
    ----------
    model : TaskModel
        Whose representation, as long as it is frozen, is not stored with every checkpoint.

    Examples
    --------
    >>> from wavcube.tasks.recognition.heads import BLSTMHead
    >>> from wavcube.tasks.recognition.model import RecognitionModel
    >>> from wavcube.representations import SSLRepresentation
    >>> from wavcube.testing import tiny_ssl_encoder
    >>> head = BLSTMHead(16, num_tokens=5, projected_dim=4, hidden_dim=4)
    >>> model = RecognitionModel(SSLRepresentation(tiny_ssl_encoder()), head)
    >>> [name for name in TrainedWeights(model).state() if not name.startswith("head.")]
    ['representation.mix.logits']
    """

    FROZEN: ClassVar[str] = "representation.model."

    def __init__(self, model: TaskModel) -> None:
        self.model = model

    def state(self) -> dict[str, Tensor]:
        """Give the weights by name."""
        state = self.model.state_dict()
        if not self.model.representation.is_frozen:
            return state
        return {name: value for name, value in state.items() if not name.startswith(self.FROZEN)}

    @mark_as_saver
    def _save(self, path: str) -> None:
        torch.save(self.state(), path)

    @mark_as_loader
    def _load(self, path: str, end_of_epoch: bool) -> None:
        del end_of_epoch
        saved = torch.load(path, map_location="cpu", weights_only=True)
        own = self.model.state_dict()
        frozen = {name: own[name] for name in own.keys() - self.state().keys()}
        load_strictly(self.model, {**frozen, **saved}, path)
