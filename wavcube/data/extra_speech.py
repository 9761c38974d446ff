"""Speech for training alone, beside a corpus that has its own split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from wavcube.data.manifest import Utterance
from wavcube.data.scan import scan_audio_folder


def extra_speech(
    folders: Iterable[str | Path],
    kept_apart: Iterable[Utterance],
    *,
    max_bad_fraction: float = 0.01,
) -> list[Utterance]:
    """List the audio of some folders, none of which may be needed for validation or test.

    Parameters
    ----------
    folders : iterable of str or Path
        Searched recursively.
    kept_apart : iterable of Utterance
        What must not be trained on.
    max_bad_fraction : float
        How many files of a folder may be bad before the run stops.

    Returns
    -------
    list of Utterance
        In the folders' order, each sorted by path.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If a folder holds no audio, too many bad files, or a file that is kept apart.

    Examples
    --------
    >>> extra_speech([], [])
    []
    """
    apart = {Path(row.wav).resolve() for row in kept_apart}
    found: list[Utterance] = []
    for folder in folders:
        rows: Sequence[Utterance] = scan_audio_folder(
            folder, max_bad_fraction=max_bad_fraction
        ).utterances
        both = [row.wav for row in rows if Path(row.wav).resolve() in apart]
        if both:
            raise ValueError(
                f"{folder} is for training, but {len(both)} of its files are kept for validation "
                f"or test, such as {both[0]}"
            )
        found.extend(rows)
    return found
