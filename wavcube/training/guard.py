"""Counting of updates that were skipped because a number was not finite."""

from __future__ import annotations

import logging

import yaml
from speechbrain.utils.checkpoints import mark_as_loader, mark_as_saver, register_checkpoint_hooks

logger = logging.getLogger(__name__)


@register_checkpoint_hooks
class SkipCounter:
    """How many updates were skipped, in all and in a row, and how often the run was taken back.

    Parameters
    ----------
    patience : int
        Skips in a row after which the run returns to its last checkpoint.
    max_rollbacks : int
        Returns after which the run is given up.

    Attributes
    ----------
    skipped, in_a_row, rollbacks : int
        The counts; saved with a checkpoint.

    Examples
    --------
    >>> counter = SkipCounter(patience=2, max_rollbacks=1)
    >>> counter.skip("loss"), counter.skip("loss")
    (False, True)
    >>> counter.skipped
    2
    """

    def __init__(self, patience: int, max_rollbacks: int) -> None:
        if patience < 1:
            raise ValueError(f"patience must be at least 1 skipped update, got {patience}")
        self.patience, self.max_rollbacks = patience, max_rollbacks
        self.skipped = self.in_a_row = self.rollbacks = 0

    def succeed(self) -> None:
        """Note an update that was made."""
        self.in_a_row = 0

    def skip(self, reason: str, in_a_row: bool = True) -> bool:
        """Note an update that was not made.

        Parameters
        ----------
        reason : str
            What was not finite, for the log.
        in_a_row : bool
            Whether it counts as one more in a row. The search of a gradient scaler for its scale
            does not.

        Returns
        -------
        bool
            Whether patience has run out.
        """
        self.skipped += 1
        self.in_a_row += int(in_a_row)
        logger.warning("skipped an update, not finite: %s (%d so far)", reason, self.skipped)
        return self.in_a_row >= self.patience

    def check_rollback(self, reason: str) -> None:
        """Note a return to an earlier checkpoint; the next skip is the first in a row again.

        Parameters
        ----------
        reason : str
            What was not finite, for the message.

        Raises
        ------
        RuntimeError
            If there were too many returns.
        """
        if self.rollbacks >= self.max_rollbacks:
            raise RuntimeError(
                f"{reason}, after {self.rollbacks} returns to an earlier checkpoint: training "
                "diverges. Lower the learning rates, check the data, or use float32"
            )
        self.rollbacks += 1
        self.in_a_row = 0
        logger.warning("return to an earlier checkpoint: %s", reason)

    def state(self) -> dict[str, int]:
        """Give the counts by name."""
        return {
            "skipped": self.skipped,
            "in_a_row": self.in_a_row,
            "rollbacks": self.rollbacks,
        }

    def restore(self, state: dict[str, int]) -> None:
        """Set the counts.

        Parameters
        ----------
        state : dict of str to int
            As :meth:`state` gives it.
        """
        self.skipped = state["skipped"]
        self.in_a_row = state["in_a_row"]
        self.rollbacks = state["rollbacks"]

    @mark_as_saver
    def _save(self, path: str) -> None:
        with open(path, "w", encoding="utf-8") as file:
            yaml.safe_dump(self.state(), file)

    @mark_as_loader
    def _load(self, path: str, end_of_epoch: bool) -> None:
        del end_of_epoch
        with open(path, encoding="utf-8") as file:
            self.restore(yaml.safe_load(file))
