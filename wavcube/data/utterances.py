"""Whole utterances as a SpeechBrain dataset, for validation and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

from speechbrain.dataio.dataset import DynamicItemDataset

from wavcube.data.audio import read_audio
from wavcube.data.manifest import Utterance

__all__ = ["SpeechDataset", "utterance_dataset"]


class SpeechDataset(Protocol):
    """Items with "id" and "wav" `[T]`: crops, or whole utterances."""

    def __len__(self) -> int:
        """Return the number of items."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return an item."""


def utterance_dataset(
    utterances: Sequence[Utterance],
    sample_rate: int,
    output_keys: Sequence[str] = ("id", "wav", "spk_id"),
) -> DynamicItemDataset:
    """Build a dataset whose "wav" is the waveform, as `CropDataset`'s is.

    With SpeechBrain's default collation `batch.wav` is then data `[B, T]` and relative lengths
    `[B]`, for crops and whole utterances alike.

    Parameters
    ----------
    utterances : Sequence[Utterance]
        Rows of a manifest.
    sample_rate : int
        Of the waveforms, in Hz.
    output_keys : Sequence[str]
        Of "id", "wav", "path", "duration", "spk_id" and "wrd".

    Raises
    ------
    ValueError
        When there is no utterance.

    Examples
    --------
    >>> import torch
    >>> from wavcube.data.audio import write_audio
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> write_audio(path, torch.zeros(800), 16000)
    >>> dataset = utterance_dataset([Utterance("a", 0.05, str(path), "sue")], 16000)
    >>> dataset[0]["wav"].shape, dataset[0]["spk_id"]
    (torch.Size([800]), 'sue')
    """
    if not utterances:
        raise ValueError("there is no utterance to make a dataset of")
    rows = {
        row.ID: {
            "path": row.wav,
            "duration": row.duration,
            "spk_id": row.spk_id,
            "wrd": row.wrd,
        }
        for row in utterances
    }
    read = {
        "func": partial(read_audio, sample_rate=sample_rate),
        "takes": "path",
        "provides": "wav",
    }
    return DynamicItemDataset(rows, [read], list(output_keys))
