"""The Free Spoken Digit Dataset, whose files are named DIGIT_SPEAKER_TAKE."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from wavcube.data.audio import read_audio
from wavcube.metrics.folders import audio_files
from wavcube.metrics.linear_probe import leave_one_group_out

TAKE_BLOCKS = 5


class Take(NamedTuple):
    """One recording of one digit."""

    digit: int
    speaker: str
    index: int
    wav: Tensor


def read_takes(folder: Path, sample_rate: int) -> list[Take]:
    """Read every take at the given rate, sorted by name."""
    takes = []
    for name, path in audio_files(folder).items():
        parts = name.rpartition("/")[2].split("_")
        if len(parts) != 3 or not (parts[0] + parts[2]).isdecimal():
            raise ValueError(f"{path} is not named DIGIT_SPEAKER_TAKE as FSDD's files are")
        takes.append(Take(int(parts[0]), parts[1], int(parts[2]), read_audio(path, sample_rate)))
    if not takes:
        raise FileNotFoundError(f"{folder} has no FSDD recordings (DIGIT_SPEAKER_TAKE.wav)")
    return takes


def digit_accuracy(features: np.ndarray, takes: Sequence[Take]) -> dict[str, float]:
    """Digits right of each speaker, by a probe that has seen all the others `[items, C]`."""
    digits, speakers = [take.digit for take in takes], [take.speaker for take in takes]
    return leave_one_group_out(features, digits, speakers)


def speaker_accuracy(features: np.ndarray, takes: Sequence[Take]) -> dict[str, float]:
    """Speakers right in each block of takes, by a probe that has seen all the others."""
    speakers = [take.speaker for take in takes]
    return leave_one_group_out(features, speakers, take_blocks([take.index for take in takes]))


def take_blocks(indices: Sequence[int], blocks: int = TAKE_BLOCKS) -> list[str]:
    """Name the block of each take: takes made one after the other, in one session, stay together.

    Examples
    --------
    >>> take_blocks([0, 1, 2, 3, 0, 3], 2)
    ['takes 0-1', 'takes 0-1', 'takes 2-3', 'takes 2-3', 'takes 0-1', 'takes 2-3']
    """
    single = sorted(set(indices))
    parts = np.array_split(single, min(blocks, len(single)))
    names = {index: f"takes {part[0]}-{part[-1]}" for part in parts for index in part.tolist()}
    return [names[index] for index in indices]
