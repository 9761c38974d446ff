"""Whole segments in batches of like length, from any position of a run on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.dataio.dataloader import SaveableDataLoader
from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from torch.utils.data import Dataset

from wavcube.data.segments.bad import BadReads
from wavcube.data.segments.batches import DurationBatches
from wavcube.data.segments.collection import Segments

__all__ = ["SegmentDataset", "SegmentLoader"]


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
