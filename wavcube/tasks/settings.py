"""How a task's model trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wavcube.training.settings import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class TaskSettings(TrainingSettings):
    """How a task's model trains. Whether more of the best metric is better is the task's to say.

    Parameters
    ----------
    updates, name, warmup, lr_schedule, ema_decay, best_metric, best_is_highest
        See :class:`~wavcube.training.settings.TrainingSettings`.
    max_rollbacks, log_every, shard_optimizer
        See there.
    lr : float
        Of the head; a representation that is fine-tuned has its own.
    weights : Mapping of str to float, optional
        Weight of each loss term that is on; by default the terms of the task are added.

    Examples
    --------
    >>> TaskSettings(updates=1000, lr=1e-3, best_metric="wer").lr
    0.001
    """

    lr: float
    weights: Mapping[str, float] | None = None
