"""Training of a task's head on a representation, frozen or fine-tuned from some update on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from speechbrain import Stage
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.utils.checkpoints import (
    Checkpointer,
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from torch import Tensor, nn
from torch.optim import Optimizer

from wavcube.losses import weighted_sum
from wavcube.release.weights import load_strictly
from wavcube.tasks.model import TaskModel
from wavcube.tasks.task import KEPT, Task, TaskSettings
from wavcube.training.brain import GuardedBrain, unwrap
from wavcube.training.distributed import all_gather, transparent
from wavcube.training.run_logger import RunLogger

logger = logging.getLogger(__name__)


class TaskBrain(GuardedBrain):
    """Train the model of any task by the task's own loss, and validate it by the task's scores.

    Parameters
    ----------
    task : Task
        Whose model it is.
    model : TaskModel
        Of the task.
    settings : TaskSettings
        Length, schedule, weights and best metric.
    opt_class, hparams, run_opts, checkpointer, journal
        See :class:`~wavcube.training.brain.GuardedBrain`.

    Raises
    ------
    ValueError
        If the best metric is not one of the task's, or the weights are not those of its terms.

    Examples
    --------
    >>> from wavcube.lobes.layers.spectrogram import MaskHead
    >>> from wavcube.representations import MelRepresentation
    >>> from wavcube.tasks.enhancement.model import MaskEnhancer
    >>> from wavcube.tasks.enhancement.task import Enhancement
    >>> head = MaskHead(8, stride=320, hidden_dim=4, num_layers=1)
    >>> settings = TaskSettings(updates=1, lr=1e-3, weights={"phase_sensitive": 1.0})
    >>> model = MaskEnhancer(MelRepresentation(num_mel_bins=4), head)
    >>> brain = TaskBrain(Enhancement(), model, settings, opt_class=torch.optim.AdamW,
    ...     run_opts={"device": "cpu"})
    >>> brain.on_fit_start()
    >>> batch = PaddedBatch([{"wav": torch.randn(1600), "clean": torch.randn(1600)}])
    >>> bool(brain.fit_batch(batch) > 0), brain.optimizer_step
    (True, 1)
    """

    settings: TaskSettings

    def __init__(
        self,
        task: Task,
        model: TaskModel,
        settings: TaskSettings,
        opt_class: Callable[..., Optimizer] | None = None,
        hparams: Mapping[str, Any] | None = None,
        run_opts: Mapping[str, Any] | None = None,
        checkpointer: Checkpointer | None = None,
        journal: RunLogger | None = None,
    ) -> None:
        measured = {"loss": "min", **task.metrics}
        if settings.best_metric not in measured:
            raise ValueError(
                f"best_metric {settings.best_metric!r} is not one of what this task's validation "
                f"measures: {sorted(measured)}"
            )
        settings = replace(settings, best_is_highest=measured[settings.best_metric] == "max")
        super().__init__(
            {"model": model},
            opt_class,
            hparams,
            run_opts,
            checkpointer,
            settings=settings,
            journal=journal,
        )
        self.task = task
        self._unscored: dict[str, str] = {}
        self._heard: set[str] = set()
        task.device = self.device
        setattr(task, "listen", self._listen)  # noqa: B010 - which hears of every clip
        task.prepare_training(model, settings)

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

    def averaged_module(self) -> nn.Module:
        """Average what trains: the head, and the representation unless it stands still."""
        own = self.model.representation
        return self.model.head if own.is_frozen and own.mix is None else self.model

    def compute_forward(self, batch: PaddedBatch, stage: Stage) -> dict[str, Tensor]:
        """Compute the task's loss terms.

        Parameters
        ----------
        batch : PaddedBatch
            Of the task's dataset.
        stage : Stage
            Of the experiment.
        """
        del stage
        vars(batch).pop(KEPT, None)
        return self.task.loss(transparent(self.modules.model), batch.to(self.device))

    def compute_objectives(
        self, predictions: Mapping[str, Tensor], batch: PaddedBatch, stage: Stage
    ) -> Tensor:
        """Weigh the terms, and score each item outside training.

        Parameters
        ----------
        predictions : mapping of str to Tensor
            Of :meth:`compute_forward`.
        batch : PaddedBatch
            The same.
        stage : Stage
            Of the experiment.
        """
        if stage != Stage.TRAIN:
            for name, item in zip(batch.id, self.task.scores(self.model, batch), strict=True):
                for key, value in item.items():
                    if isinstance(value, str):
                        self._unscored[str(name)] = value
                    else:
                        self.score({key: value})
        self.log(predictions)
        weights = self.settings.weights
        if weights is None:
            weights = dict.fromkeys(predictions, 1.0)
        return weighted_sum(predictions, weights)

    def _listen(self, title: str, wav: Tensor, sample_rate: int) -> None:
        """Put a clip of a validation into TensorBoard, the first one of its title."""
        if self.journal is not None and title not in self._heard:
            self._heard.add(title)
            self.journal.audio(title, wav, sample_rate, self.optimizer_step)

    def on_stage_start(self, stage: Stage, epoch: int | None = None) -> None:
        """Begin an epoch's training or validation."""
        super().on_stage_start(stage, epoch)
        self._heard.clear()

    def gather_scores(self) -> None:
        """Collect what could not be scored, too."""
        super().gather_scores()
        for part in all_gather(self._unscored):
            self._unscored |= part

    def on_stage_end(self, stage: Stage, stage_loss: float, epoch: int | None = None) -> None:
        """Make the task's metrics of a validation; one that no item has is not a number."""
        if stage == Stage.TRAIN:
            return
        scores = {name: np.array(values) for name, values in self._scores.items()}
        self.stage_scores = {"loss": float(stage_loss), **self.task.summarize(scores)}
        if self._unscored:
            name, reason = next(iter(self._unscored.items()))
            count = len(self._unscored)
            items = self.task.items
            logger.warning("%d %s have no score, such as %s: %s", count, items, name, reason)
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
