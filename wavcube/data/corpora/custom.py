"""A user's own recordings of several speakers, for voice conversion."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wavcube.data.manifest import Utterance, read_manifest
from wavcube.data.prepare import (
    Made,
    check_files,
    extra_speech,
    find_audio,
    prepare_once,
    scan_audio_folder,
    split_by_name,
)
from wavcube.data.transcripts import row_of

__all__ = ["extra_voices", "hold_out_sentences", "prepare_custom_corpus"]


def prepare_custom_corpus(
    source: str | Path,
    out_folder: str | Path,
    *,
    valid_speakers: Sequence[str] = (),
    test_speakers: Sequence[str] = (),
    max_bad_fraction: float = 0.01,
    progress: bool = True,
) -> dict[str, Path]:
    """Prepare a folder with a subfolder for each speaker, or a CSV with "wav" and "spk_id".

    Parameters
    ----------
    source : str | Path
        Folder or CSV file.
    out_folder : str | Path
        For `train.csv`, `valid.csv`, `test.csv`; and `bad_files.csv` when files were left out.
    valid_speakers, test_speakers : Sequence[str]
        Held back; of both or of none. Without them :func:`hold_out_sentences` splits.
    max_bad_fraction : float
        How many files may be bad before the run stops.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    dict[str, Path]
        Manifest of "train", "valid" and "test". Paths in them that start with `$data_root` are
        relative to `source`, or to the folder it is in.

    Raises
    ------
    FileNotFoundError
        When there is no such source.
    ValueError
        When a row has no speaker, a speaker is unknown or has too few recordings, or too many files
        are bad.
    """
    source = Path(source)
    if not source.exists():
        raise FileNotFoundError(f"there is no folder or CSV file {source}")
    is_manifest = source.is_file()
    data_root = source.parent if is_manifest else source
    rows = read_manifest(source, data_root) if is_manifest else []
    for number, row in enumerate(rows, start=1):
        if not row.spk_id:
            raise ValueError(f"{source}, row {number} ({row.ID!r}): no speaker (column 'spk_id')")
    files = [source, *(Path(row.wav) for row in rows)] if is_manifest else find_audio(source)
    arguments = {
        "source": str(source.resolve()),
        "valid_speakers": list(valid_speakers),
        "test_speakers": list(test_speakers),
        "max_bad_fraction": max_bad_fraction,
    }

    def make() -> Made:
        limits: dict[str, Any] = {"max_bad_fraction": max_bad_fraction, "progress": progress}
        scan = check_files(rows, **limits) if is_manifest else scan_audio_folder(source, **limits)
        if valid_speakers or test_speakers:
            chosen = {"valid": valid_speakers, "test": test_speakers}
            return split_by_name(scan.utterances, chosen), scan.bad
        return hold_out_sentences(scan.utterances, source), scan.bad

    return prepare_once(out_folder, arguments, files, make, data_root=data_root)


def hold_out_sentences(
    rows: Sequence[Utterance], source: str | Path | None = None
) -> dict[str, list[Utterance]]:
    """Test on the last recording of every speaker, validate on the one before.

    Parameters
    ----------
    rows : Sequence[Utterance]
        With speakers.
    source : str or Path, optional
        The CSV that they are from, for the message.

    Returns
    -------
    dict[str, list[Utterance]]
        Rows of "train", "valid" and "test".

    Raises
    ------
    ValueError
        When a speaker has fewer than four: training needs two.

    Examples
    --------
    >>> rows = [Utterance(f"{name}{i}", 1.0, "a.wav", name) for name in "ab" for i in range(5)]
    >>> {role: len(part) for role, part in hold_out_sentences(rows).items()}
    {'train': 6, 'valid': 2, 'test': 2}
    """
    speakers: dict[str, list[Utterance]] = {}
    for row in rows:
        speakers.setdefault(row.spk_id, []).append(row)
    for speaker, own in speakers.items():
        if len(own) < 4:
            raise ValueError(
                f"{row_of(own[0], source)}: speaker {speaker!r} has {len(own)} recordings, and 4 "
                "are needed where no valid_speakers and test_speakers are named: two to train on, "
                "one for validation, one for the test"
            )
    parts = {"train": slice(None, -2), "valid": slice(-2, -1), "test": slice(-1, None)}
    return {
        role: [row for own in speakers.values() for row in own[part]]
        for role, part in parts.items()
    }


def extra_voices(
    folders: Iterable[str | Path],
    kept_apart: Sequence[Utterance],
    *,
    max_bad_fraction: float = 0.01,
) -> list[Utterance]:
    """List speech for training alone, with its speakers.

    Parameters
    ----------
    folders : iterable of str or Path
        Each with a subfolder for every speaker, or of one speaker, whose name it has.
    kept_apart : Sequence[Utterance]
        What must not be trained on.
    max_bad_fraction : float
        How many files of a folder may be bad before the run stops.

    Returns
    -------
    list[Utterance]
        In the folders' order.

    Raises
    ------
    FileNotFoundError, ValueError
        See :func:`~wavcube.data.prepare.extra_speech`.
    """
    return [
        row if row.spk_id else replace(row, spk_id=Path(folder).name)
        for folder in folders
        for row in extra_speech([folder], kept_apart, max_bad_fraction=max_bad_fraction)
    ]
