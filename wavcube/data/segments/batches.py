"""Batches of segments of like length, bounded in seconds, for one process or many.

SpeechBrain's DynamicBatchSampler keeps every length and every batch in memory, and has the same
batches in every epoch unless somebody calls its `set_epoch`; DistributedSamplerWrapper goes through
all of them in advance and repeats some, where ranks do not share them out evenly.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from wavcube.data.segments.shuffle import shuffled

__all__ = ["DurationBatches"]

logger = logging.getLogger(__name__)


class DurationBatches(Sampler[list[int]]):
    """A `batch_sampler` whose batches depend on seed, epoch and position alone.

    The rows are shuffled anew in every epoch. Of so many that follow each other (a window) those of
    like duration make batches, in random order. The batches are dealt to the ranks in turn;
    what does not go round at the end of an epoch, fewer batches than ranks, is left out, so that
    each rank has as many. No more than a window is in memory.

    Parameters
    ----------
    durations : NDArray
        Seconds of each row, `[N]`; may be memory-mapped.
    max_seconds : float
        Of a batch, padding included: its longest row's duration times its rows. Longer rows are
        left out, which is logged.
    max_rows : int
        In a batch.
    seed : int
        Of the order.
    window : int
        How many rows share their lengths out: more of them leave less padding.
    rank, world_size : int
        Which part of the batches, of how many.

    Raises
    ------
    ValueError
        If a number is out of range, or every row is too long.

    Examples
    --------
    >>> batches = DurationBatches(np.array([1.0, 2.0, 1.0, 9.0]), max_seconds=4, max_rows=8, seed=1)
    >>> sorted(sorted(batch) for batch in batches), len(batches)
    ([[0, 2], [1]], 2)
    """

    def __init__(
        self,
        durations: NDArray[np.floating],
        *,
        max_seconds: float,
        max_rows: int,
        seed: int,
        window: int = 16384,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if max_seconds <= 0 or max_rows < 1 or window < 1:
            raise ValueError(
                f"max_seconds ({max_seconds}), max_rows ({max_rows}) and window ({window}) must be "
                "above 0"
            )
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} is not one of {world_size}, counted from 0")
        self.durations, self.max_seconds, self.max_rows = durations, max_seconds, max_rows
        self.seed, self.window, self.rank, self.world_size = seed, window, rank, world_size
        self.epoch = 0
        self._lengths: dict[int, int] = {}
        long = int(np.count_nonzero(durations > max_seconds))
        if long == len(durations):
            raise ValueError(
                f"every one of the {long} segments is longer than max_seconds, {max_seconds:g} s: "
                "raise it, or cut them"
            )
        if long:
            logger.warning(
                "%d of %d segments left out: longer than %g s (max_seconds)",
                long,
                len(durations),
                max_seconds,
            )

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; call it before iterating."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        """Give this rank's batches of row numbers."""
        together: list[list[int]] = []
        for batch in self._all(self.epoch):
            together.append(batch)
            if len(together) == self.world_size:
                yield together[self.rank]
                together = []

    def __len__(self) -> int:
        """Count this rank's batches in this epoch: the same number on each."""
        if self.epoch not in self._lengths:
            self._lengths = {self.epoch: sum(1 for _ in self._all(self.epoch)) // self.world_size}
        return self._lengths[self.epoch]

    def metadata(self) -> dict[str, Any]:
        """Give what the order depends on, to be compared before a run goes on."""
        return {
            "rows": len(self.durations),
            "seconds": round(float(np.sum(self.durations, dtype=np.float64)), 1),
            "max_seconds": self.max_seconds,
            "max_rows": self.max_rows,
            "seed": self.seed,
            "window": self.window,
            "world_size": self.world_size,
        }

    def _all(self, epoch: int) -> Iterator[list[int]]:
        size = len(self.durations)
        for number, start in enumerate(range(0, size, self.window)):
            positions = np.arange(start, min(size, start + self.window))
            rows = shuffled(positions, size, (self.seed, epoch))
            batches = self._pack(rows)
            order = np.random.default_rng((self.seed, epoch, number)).permutation(len(batches))
            yield from (batches[each] for each in order)

    def _pack(self, rows: NDArray[np.int64]) -> list[list[int]]:
        """Make batches of a window's rows, from the shortest to the longest."""
        durations = np.asarray(self.durations[rows], np.float64)
        order = np.argsort(durations, kind="stable")
        batches: list[list[int]] = []
        batch: list[int] = []
        for row, longest in zip(rows[order].tolist(), durations[order].tolist(), strict=True):
            if longest > self.max_seconds:
                break
            full = (len(batch) + 1) * longest > self.max_seconds or len(batch) == self.max_rows
            if full and batch:
                batches.append(batch)
                batch = []
            batch.append(row)
        return [*batches, batch] if batch else batches
