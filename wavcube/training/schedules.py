"""Learning rates that follow the number of updates."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol

from speechbrain.utils.checkpoints import mark_as_loader, mark_as_saver, register_checkpoint_hooks
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from wavcube.training.settings import LearningRateShape


class ResumeError(ValueError):
    """A run cannot go on from its checkpoint with these settings."""


class WarmupSchedule(LambdaLR):
    """Linear warm-up, then half a cosine or a line down to zero, over one optimizer's updates.

    SpeechBrain's schedules either do not end at zero, restart, or scale every group to one rate.
    This one multiplies each group's own rate. Its state is recovered with a run.

    Parameters
    ----------
    optimizer : Optimizer
        Its groups' rates are the peak rates.
    warmup : int
        Updates until the peak, at most ``updates``; the first has ``1 / warmup`` of it.
    updates : int
        All updates, the warm-up included; from there on the rate is zero.
    shape : {"cosine", "linear", "constant"}
        How the rate falls after its peak; or that it stays there.

    Raises
    ------
    ValueError
        If the warm-up does not fit into the updates.

    Examples
    --------
    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=8.0)
    >>> schedule, rates = WarmupSchedule(optimizer, 2, 4), []
    >>> for _ in range(5):
    ...     rates.append(round(optimizer.param_groups[0]["lr"], 2))
    ...     optimizer.step()
    ...     schedule.step()
    >>> rates
    [4.0, 8.0, 8.0, 4.0, 0.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup: int,
        updates: int,
        shape: LearningRateShape = "cosine",
    ) -> None:
        if not 0 <= warmup <= updates or updates < 1:
            raise ValueError(f"a warm-up of {warmup} does not fit into {updates} updates")
        self.warmup, self.updates, self.shape = warmup, updates, shape
        super().__init__(optimizer, self._factor)

    def _factor(self, done: int) -> float:
        if done < self.warmup:
            return (done + 1) / self.warmup
        if self.shape == "constant":
            return 1.0
        left = self.updates - self.warmup
        progress = min((done - self.warmup) / left, 1.0) if left else 1.0
        if self.shape == "linear":
            return 1.0 - progress
        return 0.5 * (1.0 + math.cos(math.pi * progress))

    def state_dict(self) -> dict:
        """State without the function, which the constructor makes anew."""
        return {key: value for key, value in super().state_dict().items() if key != "lr_lambdas"}

    def load_state_dict(self, state_dict: dict) -> None:
        """Go on from a saved state.

        Parameters
        ----------
        state_dict : dict
            As returned by :meth:`state_dict`.

        Raises
        ------
        ValueError
            If the state belongs to a schedule of another length.
        """
        saved = state_dict["warmup"], state_dict["updates"]
        if saved != (self.warmup, self.updates):
            raise ResumeError(
                f"the checkpoint's schedule has (warm-up, updates) {saved}, this run's "
                f"{(self.warmup, self.updates)}: keep the settings, or start in another folder"
            )
        own = {"lr_lambdas": [None] * len(self.base_lrs), "shape": self.shape}
        super().load_state_dict({**state_dict, **own})


class Countable(Protocol):
    """What counts its updates, as a Brain does."""

    optimizer_step: int
    optimizer_step_limit: int


@register_checkpoint_hooks
class UpdateEpochs:
    """Count epochs until a Brain has done all its updates.

    Unlike a fixed number of epochs this makes up for updates that were skipped or taken back. An
    epoch that was interrupted is entered again, even with no update left to do in it: it still ends
    with validation.

    Parameters
    ----------
    brain : object
        Has ``optimizer_step`` and ``optimizer_step_limit``.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> brain = SimpleNamespace(optimizer_step=0, optimizer_step_limit=5)
    >>> for epoch in UpdateEpochs(brain):
    ...     brain.optimizer_step += 3
    >>> epoch
    2
    """

    def __init__(self, brain: Countable) -> None:
        self.brain, self.current = brain, 0
        self._interrupted = False

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        done = self.brain.optimizer_step >= self.brain.optimizer_step_limit
        if done and not self._interrupted:
            raise StopIteration
        self._interrupted = False
        self.current += 1
        return self.current

    def stay_in(self, epoch: int) -> None:
        """Go on in an epoch, though a checkpoint was loaded.

        Parameters
        ----------
        epoch : int
            The running one.
        """
        self.current, self._interrupted = epoch, False

    @mark_as_saver
    def _save(self, path: str) -> None:
        with open(path, "w", encoding="utf-8") as file:
            file.write(str(self.current))

    @mark_as_loader
    def _load(self, path: str, end_of_epoch: bool) -> None:
        with open(path, encoding="utf-8") as file:
            # an unfinished epoch is entered again; the data loader skips what it had given
            self.current = int(file.read()) - (0 if end_of_epoch else 1)
        self._interrupted = not end_of_epoch
