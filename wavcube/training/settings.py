"""Plain settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeVar, get_args

LearningRateShape = Literal["cosine", "linear", "constant"]


Settings = TypeVar("Settings", bound="TrainingSettings")


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How long and by what schedule a Brain trains.

    Parameters
    ----------
    updates : int
        Updates of the whole run.
    name : str
        Name of the run in its bar and log.
    warmup : int
        Updates until the peak learning rate.
    lr_schedule : {"cosine", "linear", "constant"}
        How it falls to zero from there, or that it stays.
    ema_decay : float, optional
        Average the weights; the average is what is validated, evaluated and exported.
    best_metric : str
        Validation score that the best checkpoint is chosen by.
    best_is_highest : bool
        Whether more of it is better.
    max_rollbacks : int
        Returns to the last checkpoint before the run is given up.
    log_every : int
        Updates between two points in TensorBoard.
    shard_optimizer : bool
        Of several processes each keeps a part of the optimizers' state: less memory, more traffic.

    Raises
    ------
    ValueError
        If updates or warm-up are not whole numbers, there is no update, or fewer than warm-up has;
        or the schedule is unknown.

    Examples
    --------
    >>> TrainingSettings(updates=1000, warmup=100).best_metric
    'loss'
    """

    updates: int
    name: str = "training"
    warmup: int = 0
    lr_schedule: LearningRateShape = "cosine"
    ema_decay: float | None = None
    best_metric: str = "loss"
    best_is_highest: bool = False
    max_rollbacks: int = 3
    log_every: int = 20
    shard_optimizer: bool = False

    def __post_init__(self) -> None:
        if not (isinstance(self.updates, int) and isinstance(self.warmup, int)):
            raise ValueError(
                f"updates {self.updates!r} and warmup {self.warmup!r} must be whole numbers"
            )
        if self.lr_schedule not in get_args(LearningRateShape):
            known = ", ".join(get_args(LearningRateShape))
            raise ValueError(f"lr_schedule {self.lr_schedule!r} is not one of {known}")
        if not 0 <= self.warmup <= self.updates or self.updates < 1:
            raise ValueError(
                f"a warm-up of {self.warmup} (warmup) does not fit into {self.updates} updates"
            )

    def shortened(self: Settings, updates: int) -> Settings:
        """Give the same training over fewer updates, for a dry run.

        Parameters
        ----------
        updates : int
            How many at most.

        Examples
        --------
        >>> TrainingSettings(updates=1000, warmup=100).shortened(2).warmup
        2
        """
        updates = min(updates, self.updates)
        return replace(self, updates=updates, warmup=min(updates, self.warmup))
