"""The speech of a run that trains from large manifests: JSON lines and folders of shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wavcube.data.crops import CropDataset, Crops
from wavcube.data.manifest import Utterance
from wavcube.data.prepare import check_same_data
from wavcube.data.segments import Segment, Segments, open_segments
from wavcube.data.segments.collection import listed_segments
from wavcube.data.segments.crops import SegmentCrops
from wavcube.data.segments.joined import JoinedSegments
from wavcube.data.segments.splitting import copy_held_back, hold_back, leave_out_known

__all__ = ["Speech", "add_speech", "crops_of", "split_segments"]

Speech = Sequence[Any]  # of Utterance; of large manifests Segments, or JoinedSegments


def split_segments(source: Path, folder: Path, hparams: Mapping[str, Any]) -> dict[str, Speech]:
    """Train on a large manifest, and hold a little back for validation and test.

    Parameters
    ----------
    source : Path
        JSON lines or a folder of shards.
    folder : Path
        Of the run, for what is held out.
    hparams : Mapping
        Of the recipe, with `valid_utterances`, `test_utterances`, `shortest_test`, `longest_test`
        and `seed`.

    Returns
    -------
    dict of str to Speech
        "train", "valid" and "test".

    Raises
    ------
    FileNotFoundError, ValueError, PermissionError
        As :func:`~wavcube.data.segments.open_segments` does; a ValueError also if the run began
        with other segments or there are too few.
    """
    segments = open_segments(source, progress=True)
    check_same_data(folder / "segments.json", segments.metadata())
    lasting = {"shortest": hparams["shortest_test"], "longest": hparams["longest_test"]}
    counts = {role: hparams[f"{role}_utterances"] for role in ("test", "valid")}
    held = hold_back(segments, counts, seed=hparams["seed"], **lasting)
    copied = copy_held_back(segments, held, folder, {**lasting, "seed": hparams["seed"]})
    return {"train": segments.without(held.rows), **copied}


def add_speech(
    rows: Mapping[str, Speech],
    more: Sequence[Utterance],
    manifests: Sequence[Path],
    folder: Path,
) -> dict[str, Speech]:
    """Add to what a run trains on.

    Segments of large manifests by speakers of validation or test are left out, which is logged.

    Parameters
    ----------
    rows : Mapping of str to Speech
        "train", "valid" and "test".
    more : sequence of Utterance
        Audio files.
    manifests : sequence of Path
        JSON lines or folders of shards.
    folder : Path
        Of the run, where it is noted what they hold.

    Returns
    -------
    dict of str to Speech
        The same, with more in "train".

    Raises
    ------
    FileNotFoundError, ValueError, PermissionError
        As :func:`~wavcube.data.segments.open_segments` does; a ValueError also if the run began
        with other segments.
    """
    train = rows["train"]
    if isinstance(train, list):
        train = [*train, *more]
        parts: list[Any] = [listed_segments(_as_segments(train))] if manifests else []
    else:
        parts = [train, listed_segments(_as_segments(more))] if more else [train]
    if not manifests and len(parts) < 2:
        return {**rows, "train": train}
    apart = _as_segments([*rows["valid"], *rows["test"]])
    for number, path in enumerate(manifests, start=1):
        segments = open_segments(path, progress=True)
        check_same_data(folder / f"segments_{number}.json", segments.metadata())
        parts.append(leave_out_known(segments, apart, str(path)))
    return {**rows, "train": JoinedSegments(parts)}


def crops_of(
    rows: Speech,
    *,
    crop_seconds: float,
    crops_per_epoch: int,
    sample_rate: int,
    seed: int,
    max_bad_fraction: float,
) -> Crops:
    """Build the dataset of random crops that a run trains on.

    Parameters
    ----------
    rows : Speech
        To draw from.
    crop_seconds, crops_per_epoch, sample_rate, seed
        See :class:`~wavcube.data.crops.CropDataset`.
    max_bad_fraction : float
        How many segments of large manifests, which nobody has checked, may be unreadable.

    Raises
    ------
    ValueError
        If there is no speech, or a number is out of range.
    """
    sizes: dict[str, Any] = {
        "crop_seconds": crop_seconds,
        "crops_per_epoch": crops_per_epoch,
        "sample_rate": sample_rate,
        "seed": seed,
    }
    if isinstance(rows, (Segments, JoinedSegments)):
        return SegmentCrops(rows, max_bad_fraction=max_bad_fraction, **sizes)
    return CropDataset([row.as_dict() for row in rows], **sizes)


def _as_segments(rows: Sequence[Utterance]) -> list[Segment]:
    return [
        Segment(row.ID, row.duration, row.wav, speaker=row.spk_id, text=row.wrd) for row in rows
    ]
