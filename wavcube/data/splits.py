"""Holding part of a corpus out from training, seeded."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from wavcube.data.manifest import Utterance

__all__ = [
    "describe_split",
    "evenly_spaced",
    "hold_out_speakers",
    "hold_out_utterances",
    "require_disjoint_speakers",
]

_LISTED = 5
Item = TypeVar("Item")
Row = TypeVar("Row", bound=Utterance)


def hold_out_speakers(
    utterances: Sequence[Row], count: int, seed: int
) -> tuple[list[Row], list[Row]]:
    """Hold out all utterances of some speakers.

    Parameters
    ----------
    utterances : Sequence[Utterance]
        All of them, with speakers.
    count : int
        How many speakers to hold out.
    seed : int
        Draws the speakers.

    Returns
    -------
    kept, held_out : tuple[list[Utterance], list[Utterance]]
        Both in the order given.

    Raises
    ------
    ValueError
        When a speaker is unknown, or no speaker would be left on either side.

    Examples
    --------
    >>> rows = [Utterance(f"{s}-{i}", 1.0, "a.wav", s) for s in "abc" for i in range(2)]
    >>> kept, held_out = hold_out_speakers(rows, 1, seed=0)
    >>> len(kept), len(held_out), len({row.spk_id for row in held_out})
    (4, 2, 1)
    """
    unknown = [row.ID for row in utterances if not row.spk_id]
    if unknown:
        raise ValueError(f"speakers cannot be held out: {unknown[0]!r} has no speaker")
    speakers = sorted({row.spk_id for row in utterances})
    if not 1 <= count < len(speakers):
        raise ValueError(
            f"from 1 to {len(speakers) - 1} of the {len(speakers)} speakers can be held out, "
            f"not {count}"
        )
    chosen = set(random.Random(seed).sample(speakers, count))
    kept = [row for row in utterances if row.spk_id not in chosen]
    return kept, [row for row in utterances if row.spk_id in chosen]


def hold_out_utterances(
    utterances: Sequence[Row], fraction: float, seed: int
) -> tuple[list[Row], list[Row]]:
    """Hold out a share of the utterances, whoever speaks them, and at least one.

    Parameters
    ----------
    utterances : Sequence[Utterance]
        All of them.
    fraction : float
        Share to hold out, above 0 and below 1.
    seed : int
        Draws the utterances.

    Returns
    -------
    kept, held_out : tuple[list[Utterance], list[Utterance]]
        Both in the order given.

    Raises
    ------
    ValueError
        When the share is out of range or leaves nothing.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"the share to hold out is between 0 and 1, not {fraction}")
    count = max(1, round(fraction * len(utterances)))
    if count >= len(utterances):
        raise ValueError(
            f"{count} of {len(utterances)} utterances cannot be held out: none would be left"
        )
    chosen = set(random.Random(seed).sample(range(len(utterances)), count))
    kept = [row for index, row in enumerate(utterances) if index not in chosen]
    return kept, [row for index, row in enumerate(utterances) if index in chosen]


def require_disjoint_speakers(manifests: Mapping[str, Sequence[Utterance]]) -> None:
    """Make sure that nobody speaks in two manifests.

    Raises
    ------
    ValueError
        When somebody does; names some of them.
    """
    names = sorted(manifests)
    speakers = {name: {row.spk_id for row in manifests[name]} - {""} for name in names}
    for index, one in enumerate(names):
        for two in names[index + 1 :]:
            common = sorted(speakers[one] & speakers[two])
            if common:
                raise ValueError(
                    f"{len(common)} speakers are in both {one} and {two}, for example "
                    f"{', '.join(common[:_LISTED])}: a score on known speakers says little"
                )


def describe_split(parts: Mapping[str, Sequence[Any]]) -> str:
    """Say how much speech each part holds.

    Parameters
    ----------
    parts : Mapping[str, Sequence]
        Rows of known durations by name; what has its `seconds`, as large manifests do, is not
        gone through.

    Returns
    -------
    str
        One line.

    Examples
    --------
    >>> rows = [Utterance(f"{i}", 45.0, "a.wav") for i in range(4)]
    >>> describe_split({"train": rows, "test": rows[:1]})
    'utterances: train 4 (3.0 minutes), test 1 (0.8 minutes)'
    """
    sizes = [
        f"{name} {len(rows)} ({_seconds(rows) / 60:.1f} minutes)" for name, rows in parts.items()
    ]
    return f"utterances: {', '.join(sizes)}"


def _seconds(rows: Sequence[Any]) -> float:
    known = getattr(rows, "seconds", None)
    return sum(row.duration for row in rows) if known is None else known


def evenly_spaced(items: Sequence[Item], count: int) -> list[Item]:
    """Pick items at even distances.

    Parameters
    ----------
    items : Sequence
        Sorted in some way, such as by speaker.
    count : int
        How many at most.

    Examples
    --------
    >>> evenly_spaced("abcdefgh", 3)
    ['a', 'c', 'f']
    """
    if count >= len(items):
        return list(items)
    return [items[index * len(items) // count] for index in range(count)]
