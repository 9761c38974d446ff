"""Batches of segments of like length, bounded in seconds, for one process or many.

SpeechBrain's DynamicBatchSampler keeps every length and every batch in memory, and has the same
batches in every epoch unless somebody calls its `set_epoch`; DistributedSamplerWrapper goes through
all of them in advance and repeats some, where ranks do not share them out evenly.
"""

from __future__ import annotations

import json
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.dataio.dataloader import SaveableDataLoader
from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from torch.utils.data import Dataset, Sampler

from wavcube.data.segments.audio import BadReads
from wavcube.data.segments.collection import Segments

__all__ = [
    "DurationBatches",
    "SegmentDataset",
    "SegmentLoader",
    "map_ahead",
    "shuffled",
]

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")
_AHEAD = 8  # of each thread


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None
) -> Iterator[Result]:
    """Apply a function to items in several threads.

    Parameters
    ----------
    function : Callable
        What to do; it lets go of Python's lock for the most part, as reading files does.
    items : iterable
        Any number of them; a few are taken in advance.
    threads : int, optional
        By default one for each processor, 8 at most.

    Yields
    ------
    Result
        In the items' order.

    Examples
    --------
    >>> list(map_ahead(str, range(3)))
    ['0', '1', '2']
    """
    threads = threads or min(8, os.cpu_count() or 1)
    stream = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in islice(stream, threads * _AHEAD):
                waiting.append(pool.submit(function, item))
            while waiting:
                result = waiting.popleft().result()
                for item in islice(stream, 1):
                    waiting.append(pool.submit(function, item))
                yield result
        finally:
            for future in waiting:
                future.cancel()


_ROUNDS = 6
# of SplitMix64's finalizer: G. Steele et al., "Fast splittable pseudorandom number generators"
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def shuffled(positions: NDArray[np.int64], size: int, seed: tuple[int, ...]) -> NDArray[np.int64]:
    """Say what comes at some positions of a random order.

    It is a Feistel network over the next power of four; what lands outside is sent through again
    (J. Black and P. Rogaway, "Ciphers with arbitrary finite domains", 2002). No memory is needed
    beside the positions.

    Parameters
    ----------
    positions : NDArray
        From 0 to size - 1, `[M]`.
    size : int
        How many things there are.
    seed : tuple of int
        What the order depends on.

    Returns
    -------
    NDArray
        `[M]`; over all positions each number below `size` comes once.

    Examples
    --------
    >>> order = shuffled(np.arange(1000), 1000, (7, 1))
    >>> bool((np.sort(order) == np.arange(1000)).all()), order[:3].tolist() == [0, 1, 2]
    (True, False)
    """
    keys = np.random.default_rng(seed).integers(2**63, size=_ROUNDS, dtype=np.uint64)
    half = np.uint64((max(2, int(size - 1).bit_length()) + 1) // 2)
    found = _permute(np.asarray(positions).astype(np.uint64), keys, half)
    outside = np.flatnonzero(found >= size)
    while len(outside):
        found[outside] = _permute(found[outside], keys, half)
        outside = outside[found[outside] >= size]
    return found.astype(np.int64)


def _permute(
    values: NDArray[np.uint64], keys: NDArray[np.uint64], half: np.uint64
) -> NDArray[np.uint64]:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = values >> half, values & mask
    for key in keys:
        mixed = right + key  # wraps around
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX[0]
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX[1]
        left, right = right, left ^ ((mixed ^ (mixed >> np.uint64(31))) & mask)
    return left << half | right


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


class SegmentDataset(Dataset):
    """Segments with their audio.

    Parameters
    ----------
    segments : Segments
        The rows.
    sample_rate : int
        Of the waveforms, in Hz.
    batches : DurationBatches
        Of these rows; its epoch is set along with the dataset's.
    max_bad_fraction : float
        How many of the segments read may be unreadable before it raises. Those are logged and left
        out of their batch; in the place of a whole batch comes the next segment that can be read,
        so that the ranks have as many batches as before.

    Raises
    ------
    ValueError
        If the batches are of another number of rows; when it is read, if too much is unreadable.
    """

    def __init__(
        self,
        segments: Segments,
        sample_rate: int,
        batches: DurationBatches,
        max_bad_fraction: float = 0.01,
    ) -> None:
        if len(batches.durations) != len(segments):
            raise ValueError(
                f"the batches are of {len(batches.durations)} rows, there are {len(segments)}"
            )
        self.segments, self.sample_rate, self.batches = segments, sample_rate, batches
        self.reads = BadReads(max_bad_fraction)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; call it before the loader is iterated, as the Brain does."""
        self.batches.set_epoch(epoch)

    def __len__(self) -> int:
        """Return how many segments there are."""
        return len(self.segments)

    def __getitem__(self, number: int) -> dict[str, Any] | None:
        """Return "id", "wav" `[T]`, "spk_id" and "wrd" of a segment; None of an unreadable one."""
        try:
            segment = self.segments[number]
            wav = self.segments.read(number, self.sample_rate)
        except (ValueError, OSError) as error:
            self.reads.failed(error)
            return None
        self.reads.succeeded()
        return {"id": segment.id, "wav": wav, "spk_id": segment.speaker, "wrd": segment.text}

    def __getitems__(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """Return the segments of a batch that can be read, at least one; loaders call it."""
        good = [example for number in numbers if (example := self[number]) is not None]
        return good or [self._next_good(numbers[-1])]

    def _next_good(self, number: int) -> dict[str, Any]:
        """Read the first good one that follows a segment, no longer than a batch may be."""
        size = len(self)
        for place in range(number + 1, number + size):
            short = self.batches.durations[place % size] <= self.batches.max_seconds
            if short and (example := self[place % size]) is not None:
                return example
        raise ValueError(
            "no segment could be read, for the reasons that were logged: `wavcube manifest` lists "
            "them and writes a manifest without them"
        )

    def collate(self, examples: Sequence[dict[str, Any]]) -> PaddedBatch:
        """Pad the segments of a batch.

        Parameters
        ----------
        examples : sequence
            Items of the dataset.

        Returns
        -------
        PaddedBatch
            With `id`, `spk_id` and `wrd` (lists) and `wav`: data `[B, T]`, relative lengths `[B]`.
        """
        return PaddedBatch(list(examples))


@register_checkpoint_hooks
class SegmentLoader(SaveableDataLoader):
    """A loader that goes on where it was, to the batch, however many workers read ahead.

    A Brain's `fit` takes it as its `train_set`. As a recoverable of the Brain's checkpointer
    (`add_recoverable("loader", loader)`) it keeps its place itself; without one there are
    :meth:`state_dict` and :meth:`load_state_dict`. The batches passed over are not read. With
    several processes each makes its own, of batches with its `rank`.

    Parameters
    ----------
    dataset : SegmentDataset
        With its batches.
    num_workers : int
        Processes that read.
    """

    def __init__(self, dataset: SegmentDataset, num_workers: int = 0) -> None:
        super().__init__(
            dataset,
            batch_sampler=dataset.batches,
            collate_fn=dataset.collate,
            num_workers=num_workers,
            generator=torch.Generator(),  # the global one stays as it is
        )

    def state_dict(self) -> dict[str, Any]:
        """Give the place after the last batch that was taken, and what the order depends on."""
        given = self._speechbrain_recovery_skip_to or 0
        if self._speechbrain_iterator is not None:
            given = self._speechbrain_iterator._num_yielded
        batches = self.dataset.batches
        return {"epoch": batches.epoch, "batches": given, "order": batches.metadata()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a place; the next iteration gives the batch that would have come.

        Parameters
        ----------
        state : dict
            Of :meth:`state_dict`.

        Raises
        ------
        ValueError
            If the batches are others by now.
        """
        facts = self.dataset.batches.metadata()
        if facts != state["order"]:
            changed = {
                key: state["order"].get(key)
                for key in facts
                if facts[key] != state["order"].get(key)
            }
            raise ValueError(
                f"the batches are not those that the run began with, of {changed}: restore the "
                "data and the settings, or begin anew"
            )
        self.dataset.set_epoch(state["epoch"])
        self._speechbrain_iterator = None
        self._speechbrain_recovery_skip_to = state["batches"]

    @mark_as_saver
    def _speechbrain_save(self, path: Path) -> None:
        Path(path).write_text(json.dumps(self.state_dict()), encoding="utf-8")

    @mark_as_loader
    def _speechbrain_load(self, path: Path, end_of_epoch: bool) -> None:
        # after an epoch's end the next one is begun; a return to a checkpoint goes on with the data
        if end_of_epoch or self._speechbrain_iterator is not None:
            return
        text = Path(path).read_text(encoding="utf-8")
        if not text.startswith("{"):
            raise ValueError(
                f"{path} holds the place {text!r} in a loader of an earlier version, which did not "
                "say of which batches: begin the run anew"
            )
        self.load_state_dict(json.loads(text))
