"""Holding a little of a large manifest back from training, for validation and test.

What is held out is copied into the run's folder, as audio files and CSV manifests: what a run
is judged by is then small, and stays the same whatever becomes of the corpus.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wavcube.data.audio import write_audio
from wavcube.data.manifest import Utterance, read_manifest
from wavcube.data.prepare import prepared_manifests, write_prepared
from wavcube.data.segments.audio import open_segment
from wavcube.data.segments.collection import Segments
from wavcube.data.segments.lines import group_of
from wavcube.data.segments.row import Segment

__all__ = ["HeldBack", "copy_held_back", "hold_back", "leave_out_known"]

logger = logging.getLogger(__name__)

_TRIES = 400
_FEWEST_GROUPS = 10


class HeldBack(NamedTuple):
    """What :func:`hold_back` has chosen.

    Attributes
    ----------
    chosen : dict of str to list of int
        Rows to be used, for each role.
    rows : NDArray
        All rows that must not be trained on: the others of the same speakers too.
    """

    chosen: dict[str, list[int]]
    rows: NDArray[np.int64]


def hold_back(
    segments: Segments,
    counts: Mapping[str, int],
    *,
    shortest: float,
    longest: float,
    seed: int,
    share: float = 0.1,
) -> HeldBack:
    """Choose whole speakers (recordings, where speakers are unknown) for each role, at random.

    Parameters
    ----------
    segments : Segments
        The manifest.
    counts : Mapping of str to int
        How many segments each role needs, such as "valid" and "test". There may be fewer.
    shortest, longest : float
        Seconds that one of them may last.
    seed : int
        Draws the speakers.
    share : float
        Of all speech that may be held out; a little more where that would be nothing.

    Returns
    -------
    HeldBack
        Rows. Where whole speakers cannot be held out, which is logged, single rows are.

    Raises
    ------
    ValueError
        If there is nothing of such durations, or nothing would be left to train on.

    Examples
    --------
    >>> from wavcube.data.segments.collection import listed_segments
    >>> rows = [Segment(f"{s}{i}", 1.0, "a.wav", speaker=s) for s in "abcdef" for i in range(5)]
    >>> held = hold_back(listed_segments(rows), {"test": 2}, shortest=0, longest=9, seed=1)
    >>> len(held.chosen["test"]), len(held.rows)
    (2, 5)
    """
    rng = np.random.default_rng(seed)
    each, used, known = share * segments.seconds / len(counts), 0.0, set[int]()
    chosen: dict[str, list[int]] = {}
    held: list[NDArray[np.int64]] = []
    for number, (role, count) in enumerate(counts.items(), start=1):
        fitting: list[NDArray[np.int64]] = []
        for rows in _draw_groups(segments, rng):
            fit = rows[_lasting(segments, rows, shortest, longest)]
            more = float(segments.durations[rows].sum(dtype=np.float64))
            # the first speaker of a role may be more than the share, but no large part of all
            room = number * each - used if fitting else segments.seconds / 3
            if int(rows[0]) in known or not len(fit) or more > room:
                continue
            used += more
            known.add(int(rows[0]))
            held.append(rows)
            fitting.append(rng.permutation(fit))
            if len(fitting) >= min(count, _FEWEST_GROUPS) and sum(map(len, fitting)) >= count:
                break
        chosen[role] = _in_turn(fitting, count)
    if not all(chosen.values()):
        logger.warning("too few speakers to hold some back: the same may be in training and test")
        chosen = _single_rows(segments, counts, shortest, longest, rng, share)
        held = [np.array(rows, np.int64) for rows in chosen.values()]
    return HeldBack(chosen, np.unique(np.concatenate(held)))


def copy_held_back(
    segments: Segments, held: HeldBack, folder: Path, arguments: Mapping[str, Any]
) -> dict[str, list[Utterance]]:
    """Write the chosen segments as wav files, with a CSV for each role; at once if they are there.

    Parameters
    ----------
    segments : Segments
        The manifest.
    held : HeldBack
        Of :func:`hold_back`.
    folder : Path
        For the files.
    arguments : Mapping
        Plain data on which they depend.

    Returns
    -------
    dict of str to list of Utterance
        For each role. Those that cannot be read are left out, which is logged.

    Raises
    ------
    ValueError
        If none of a role can be read.
    """
    plan = {**arguments, "chosen": held.chosen, **segments.metadata()}
    manifests = prepared_manifests(folder, plan)
    if manifests is None:
        copied = {role: _copy(segments, rows, folder / role) for role, rows in held.chosen.items()}
        manifests = write_prepared(folder, copied, plan, data_root=folder)
    return {role: read_manifest(path, folder) for role, path in manifests.items()}


def leave_out_known(segments: Segments, kept_apart: Sequence[Segment], name: str) -> Segments:
    """Leave out what is by the speakers, or of the recordings, that are kept for evaluation.

    Parameters
    ----------
    segments : Segments
        For training.
    kept_apart : sequence of Segment
        For validation and test.
    name : str
        Of the manifest, for the log.

    Returns
    -------
    Segments
        The others. Speakers are compared by name.

    Examples
    --------
    >>> from wavcube.data.segments.collection import listed_segments
    >>> rows = listed_segments([Segment(name, 1.0, "a.wav", speaker=name) for name in "abc"])
    >>> len(leave_out_known(rows, [Segment("x", 1.0, "b.wav", speaker="b")], "rows"))
    2
    """
    known = {group_of(row) for row in kept_apart}
    known |= {group_of(Segment(row.id, 1.0, row.path)) for row in kept_apart}
    rows = np.flatnonzero(np.isin(segments.groups, np.array(sorted(known), np.uint32)))
    if not len(rows):
        return segments
    logger.warning(
        "%s: %d of %d segments are not trained on, their speakers are in validation or test",
        name,
        len(rows),
        len(segments),
    )
    return segments.without(rows)


def _draw_groups(segments: Segments, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Draw groups, as the rows of each, the same perhaps more than once."""
    groups = segments.groups
    for _ in range(_TRIES):
        yield np.flatnonzero(groups == groups[rng.integers(len(groups))])


def _lasting(
    segments: Segments, rows: NDArray[np.int64], shortest: float, longest: float
) -> NDArray[np.bool_]:
    durations = segments.durations[rows]
    return (durations >= shortest) & (durations <= longest)


def _in_turn(parts: Sequence[NDArray[np.int64]], count: int) -> list[int]:
    """Take from each part in turn until there are enough."""
    turns = zip_longest(*(part.tolist() for part in parts))
    return sorted([row for turn in turns for row in turn if row is not None][:count])


def _single_rows(
    segments: Segments,
    counts: Mapping[str, int],
    shortest: float,
    longest: float,
    rng: np.random.Generator,
    share: float,
) -> dict[str, list[int]]:
    fit = np.flatnonzero(_lasting(segments, np.arange(len(segments)), shortest, longest))
    most = max(len(counts), int(share * len(segments)))
    if len(fit) < len(counts) or len(segments) <= len(counts):
        raise ValueError(
            f"{len(fit)} of {len(segments)} segments last from {shortest:g} to {longest:g} s; "
            f"training needs one, and {' and '.join(counts)} one each of such a duration"
        )
    drawn = rng.permutation(fit)[:most].tolist()
    chosen: dict[str, list[int]] = {}
    for place, (role, count) in enumerate(counts.items()):
        own = drawn[place :: len(counts)]
        chosen[role] = sorted(own[:count])
    return chosen


def _copy(segments: Segments, rows: Sequence[int], folder: Path) -> list[Utterance]:
    copied: list[Utterance] = []
    for row in rows:
        segment = segments[row]
        path = folder / f"{row:09d}.wav"
        try:
            with open_segment(segment) as opened:
                rate = opened.file.samplerate
                wav = opened.read(0, opened.frames, rate)
        except (ValueError, OSError) as error:
            logger.warning("left out: %s", error)
            continue
        write_audio(path, wav, rate)
        name = segment.id.replace("/", "-")
        copied.append(Utterance(name, len(wav) / rate, str(path), segment.speaker, segment.text))
    if not copied:
        raise ValueError(f"none of the {len(rows)} segments for {folder.name} could be read")
    return copied
