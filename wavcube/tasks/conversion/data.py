"""Lessons for a voice converter: restore a piece of speech from a copy in another voice.

What of it a model computes comes from :mod:`wavcube.tasks.conversion.feature_cache`; here pieces,
copies and references are drawn, each by the seed, the epoch and its index alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from speechbrain.dataio.batch import PaddedBatch
from torch import Tensor
from torch.utils.data import Dataset

__all__ = ["Clip", "ConversionDataset", "clips_by_speaker"]

# of the frames that may be given, the fewest that are given as a reference
SHORTEST_REFERENCE = 0.2


@dataclass(frozen=True)
class Clip:
    """An utterance that a library knows.

    Parameters
    ----------
    ID, speaker : str
        Names.
    key : str
        Of its latents `[N, D]` in the library.
    copies : tuple of str
        Keys of the latents of its perturbed copies.
    f0 : Tensor
        Logarithm of F0 and voicing, `[N, 2]`.
    """

    ID: str
    speaker: str
    key: str
    copies: tuple[str, ...]
    f0: Tensor


class ConversionDataset(Dataset):
    """A virtual epoch of lessons.

    A lesson is a piece of an utterance, the same piece of one of its perturbed copies, its f0,
    and a reference: pieces of the speaker's other utterances. Utterances are drawn by their
    lengths. Where a speaker has one utterance, it is cut: a piece is at most half of it, and the
    rest is the reference.

    Parameters
    ----------
    clips : sequence of Clip
        To draw from, each with at least one copy.
    read : callable
        From a key to latents `[N, D]`.
    lessons : int
        Length of the dataset.
    crop_frames, reference_frames : int
        Longest piece and longest reference.
    seed : int
        Draws all.
    embeddings : mapping, optional
        Speaker embedding `[E]` by speaker, for heads that need one.

    Raises
    ------
    ValueError
        If there is no clip, a clip without a copy, or a number out of range.

    Examples
    --------
    >>> latents = {name: torch.randn(9, 4) for name in ("a", "a~0", "b", "b~0")}
    >>> clips = [Clip(n, "sue", n, (f"{n}~0",), torch.zeros(9, 2)) for n in "ab"]
    >>> sizes = {"lessons": 4, "crop_frames": 5, "reference_frames": 7}
    >>> dataset = ConversionDataset(clips, latents.get, seed=1, **sizes)
    >>> batch = dataset.collate([dataset[0], dataset[1]])
    >>> batch.source.data.shape, batch.target.data.shape, batch.f0.data.shape
    (torch.Size([2, 5, 4]), torch.Size([2, 5, 4]), torch.Size([2, 5, 2]))
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        read: Callable[[str], Tensor],
        *,
        lessons: int,
        crop_frames: int,
        reference_frames: int,
        seed: int,
        embeddings: dict[str, Tensor] | None = None,
    ) -> None:
        if not clips:
            raise ValueError("there is no utterance to learn from")
        if without := [clip.ID for clip in clips if not clip.copies]:
            raise ValueError(f"utterance {without[0]!r} has no copy in another voice")
        if min(lessons, crop_frames, reference_frames) < 1:
            raise ValueError(
                f"lessons {lessons}, crop_frames {crop_frames} and reference_frames "
                f"{reference_frames} must be at least 1"
            )
        self.clips, self.read, self.lessons, self.seed = list(clips), read, lessons, seed
        self.crop_frames, self.reference_frames = crop_frames, reference_frames
        self.embeddings = embeddings
        self._others = clips_by_speaker(self.clips)
        lengths = np.array([len(clip.f0) for clip in self.clips], dtype=float)
        self._ends = np.cumsum(lengths) / lengths.sum()
        # in shared memory, so that workers which outlive an epoch see it change
        self._epoch = torch.zeros((), dtype=torch.long).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; call it before the loader is iterated."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        """Return the lessons in an epoch."""
        return self.lessons

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a lesson: "id", "source", "target" and "reference" `[n, D]`, "f0" `[n, 2]`."""
        if not 0 <= index < self.lessons:
            raise IndexError(f"lesson {index} is not within 0..{self.lessons - 1}")
        rng = np.random.default_rng((self.seed, int(self._epoch), index))
        which = min(int(np.searchsorted(self._ends, rng.random(), "right")), len(self.clips) - 1)
        clip = self.clips[which]
        own, copy = self.read(clip.key), self.read(clip.copies[rng.integers(len(clip.copies))])
        others = [other for other in self._others[clip.speaker] if other is not clip]
        longest = len(own) if others else max(1, len(own) // 2)
        size = min(self.crop_frames, longest)
        start = int(rng.integers(len(own) - size + 1))
        piece = slice(start, start + size)
        rest = [own[:start], own[start + size :]]
        lesson = {
            "id": clip.ID,
            "source": copy[piece],
            "target": own[piece],
            "f0": clip.f0[piece],
            "reference": self._reference(rng, others, torch.cat(rest)),
        }
        if self.embeddings is not None:
            lesson["embedding"] = self.embeddings[clip.speaker]
        return lesson

    def _reference(self, rng: np.random.Generator, others: list[Clip], rest: Tensor) -> Tensor:
        """Draw a reference `[m, D]`, from other clips or from what is left of the clip."""
        wanted = round(self.reference_frames * rng.uniform(SHORTEST_REFERENCE, 1.0))
        parts, missing = [], max(1, wanted)
        for place in rng.permutation(len(others)):
            if missing <= 0:
                break
            parts.append(self.read(others[place].key))
            missing -= len(parts[-1])
        whole = torch.cat(parts) if parts else rest
        start = int(rng.integers(max(0, len(whole) - wanted) + 1))
        return whole[start : start + max(1, wanted)]

    def collate(self, examples: Sequence[dict[str, Any]]) -> PaddedBatch:
        """Pad lessons to a batch; pass this as the loader's `collate_fn`."""
        return PaddedBatch(list(examples))


def clips_by_speaker(clips: Sequence[Clip]) -> dict[str, list[Clip]]:
    """Group clips by speaker, in their order."""
    groups: dict[str, list[Clip]] = {}
    for clip in clips:
        groups.setdefault(clip.speaker, []).append(clip)
    return groups
