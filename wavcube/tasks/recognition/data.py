"""Transcribed utterances for recognition: every one in turn, in an order drawn anew each time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from speechbrain.dataio.batch import PaddedBatch
from torch import Tensor
from torch.utils.data import Dataset

from wavcube.data.manifest import Utterance

__all__ = ["TranscribedDataset"]

# batches of equally long items are cut from so many batches' worth of drawn ones
BLOCK = 8


class TranscribedDataset(Dataset):
    """Utterances with labels; each item is a function of seed, epoch and index.

    Parameters
    ----------
    rows : sequence of Utterance
        With transcripts.
    labels : mapping of str to sequence of int
        By ID.
    read : callable
        Gives the tensors of a row by name: `wav` `[T]`, or `states` `[N, S, C]` of a cache.
    items_per_epoch : int, optional
        Draw so many an epoch, every utterance once before any comes again; by default an epoch is
        all of them, in their order.
    batch_size : int
        Items that follow each other in groups of this size are of similar length, which saves
        padding; with 1 they follow in random order. Where length tells who speaks, as with single
        words, groups of one length teach little of what voices have in common.
    seed : int
        Draws the order.

    Raises
    ------
    ValueError
        If there is no utterance.

    Examples
    --------
    >>> rows = [Utterance(name, 1.0, "", wrd=name) for name in "abc"]
    >>> labels = {name: [1] for name in "abc"}
    >>> read = lambda row: {"wav": torch.zeros(160)}
    >>> dataset = TranscribedDataset(rows, labels, read, items_per_epoch=4, batch_size=2, seed=1)
    >>> len(dataset), len({dataset[index]["id"] for index in range(3)})
    (4, 3)
    >>> dataset.collate([dataset[0], dataset[1]]).wav.data.shape
    torch.Size([2, 160])
    """

    def __init__(
        self,
        rows: Sequence[Utterance],
        labels: Mapping[str, Sequence[int]],
        read: Callable[[Utterance], Mapping[str, Tensor]],
        items_per_epoch: int | None = None,
        batch_size: int = 1,
        seed: int = 0,
    ) -> None:
        if not rows:
            raise ValueError("there is no transcribed utterance")
        self.rows, self.read = list(rows), read
        self.labels = {row.ID: torch.tensor(labels[row.ID]) for row in rows}
        self.items_per_epoch, self.batch_size, self.seed = items_per_epoch, batch_size, seed
        # in shared memory, so that workers which outlive an epoch see it change
        self._epoch = torch.zeros((), dtype=torch.long).share_memory_()
        self._drawn: tuple[int, np.ndarray] | None = None

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; call it before the loader is iterated."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        """Return the items in an epoch."""
        return len(self.rows) if self.items_per_epoch is None else self.items_per_epoch

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return "id", "wrd", "labels" `[L]` and what ``read`` gives."""
        if not 0 <= index < len(self):
            raise IndexError(f"item {index} is not within 0..{len(self) - 1}")
        row = self.rows[self._which(index)]
        return {"id": row.ID, "wrd": row.wrd, "labels": self.labels[row.ID], **self.read(row)}

    def collate(self, examples: Sequence[Mapping[str, Any]]) -> PaddedBatch:
        """Pad items on the right; pass this as the loader's `collate_fn`."""
        return PaddedBatch(list(examples))

    def _which(self, index: int) -> int:
        if self.items_per_epoch is None:
            return index
        turn, place = divmod(int(self._epoch) * self.items_per_epoch + index, len(self.rows))
        if self._drawn is None or self._drawn[0] != turn:
            self._drawn = turn, self._draw(turn)
        return int(self._drawn[1][place])

    def _draw(self, turn: int) -> np.ndarray:
        """Order all utterances for one turn: batches of similar length, in random order."""
        rng = np.random.default_rng((self.seed, turn))
        order = rng.permutation(len(self.rows))
        durations = np.array([row.duration for row in self.rows])
        size = BLOCK * self.batch_size
        blocks = [order[at : at + size] for at in range(0, len(order), size)]
        blocks = [block[np.argsort(durations[block], kind="stable")] for block in blocks]
        order = np.concatenate(blocks)
        batches = [order[at : at + self.batch_size] for at in range(0, len(order), self.batch_size)]
        return np.concatenate([batches[at] for at in rng.permutation(len(batches))])
