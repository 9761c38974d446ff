"""Whole utterances with labels, read from their files or from a cache of frozen states.

In training every one comes in turn, in an order that is drawn anew each time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from speechbrain.dataio.batch import PaddedBatch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from wavcube.data.audio import read_audio
from wavcube.data.manifest import Utterance
from wavcube.representations import Representation, StateCache, state_key

logger = logging.getLogger(__name__)

# batches of equally long items are cut from so many batches' worth of drawn ones
BLOCK = 8


class LabelledDataset(Dataset):
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
    >>> dataset = LabelledDataset(rows, labels, read, items_per_epoch=4, batch_size=2, seed=1)
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
            raise ValueError("there is no labelled utterance")
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


def reader(
    representation: Representation,
    folder: str | Path | None,
    rows: Sequence[Utterance],
    progress: bool = True,
) -> Callable[[Utterance], Mapping[str, Tensor]]:
    """Give what reads rows: their waveforms, or states of a cache, which is filled with them now.

    Parameters
    ----------
    representation : Representation
        Which says the sample rate; only a frozen one's states can be kept.
    folder : str or Path, optional
        Of the caches of all models; None to read waveforms.
    rows : sequence of Utterance
        Whose states are wanted.
    progress : bool
        Show a bar.

    Returns
    -------
    Callable
        From a row to its tensors by name, for :class:`LabelledDataset`.
    """
    if folder is None or not representation.is_frozen:
        return partial(read_waveform, sample_rate=representation.sample_rate)
    return partial(read_states, cache=fill_cache(folder, representation, rows, progress))


def read_waveform(row: Utterance, sample_rate: int) -> dict[str, Tensor]:
    """Read `wav` `[T]` of a row."""
    return {"wav": read_audio(row.wav, sample_rate)}


def read_states(row: Utterance, cache: StateCache) -> dict[str, Tensor]:
    """Read `states` `[N, S, C]` of a row: frames first, as batches are padded there."""
    return {"states": cache[state_key(row.ID, row.wav)].transpose(0, 1).contiguous()}


def fill_cache(
    folder: str | Path,
    representation: Representation,
    rows: Sequence[Utterance],
    progress: bool = True,
) -> StateCache:
    """Compute the states of whole utterances that are not yet on disk.

    Parameters
    ----------
    folder : str or Path
        Of the caches of all models.
    representation : Representation
        A frozen one.
    rows : sequence of Utterance
        Whose states are wanted.
    progress : bool
        Show a bar.

    Returns
    -------
    StateCache
        Which has them all.
    """
    cache = StateCache(folder, representation)
    device = next(iter(representation.model.parameters()), torch.zeros(())).device

    def read(row: Utterance) -> Tensor:
        return read_audio(row.wav, representation.sample_rate).to(device)

    bar = tqdm(rows, desc="representation", unit="utterance", leave=False, disable=not progress)
    computed = cache.fill((state_key(row.ID, row.wav), partial(read, row)) for row in bar)
    if computed:
        logger.info("%d of %d utterances were represented anew", computed, len(rows))
    return cache
