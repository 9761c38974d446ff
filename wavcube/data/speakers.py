"""Who speaks in an audio file, from where it lies."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["speaker_of"]

# LibriSpeech's speaker/chapter/speaker-chapter-number and VCTK's speaker/speaker_number
_CHAPTERS = re.compile(r"(\d+)-(\d+)-\d+")
_SENTENCES = re.compile(r"([ps]\d+)_\d+(_mic\d)?")


def speaker_of(path: Path, folder: Path, level: int | None = None) -> str:
    """Tell the speaker of a file of a folder of audio.

    Files and folders that are named as LibriSpeech's `61/70968/61-70968-0000` or VCTK's
    `p225/p225_001` tell it, whichever of their folders is searched. Otherwise it is the first
    folder below.

    Parameters
    ----------
    path : Path
        Of the file.
    folder : Path
        That was searched, and holds it.
    level : int, optional
        The folders of this level are the speakers, whatever their names: 1 is the first below.

    Returns
    -------
    str
        Empty if nothing tells it.

    Raises
    ------
    ValueError
        If the level is below 1, or the file does not lie so deep.

    Examples
    --------
    >>> libri = Path("test-other/61/70968/61-70968-0000.flac")
    >>> [speaker_of(libri, Path(folder)) for folder in ("", "test-other", "test-other/61")]
    ['61', '61', '61']
    >>> speaker_of(Path("wav48/p225/p225_001.wav"), Path("wav48/p225"))
    'p225'
    >>> speaker_of(Path("ann/session1/session1_003.wav"), Path("."))
    'ann'
    >>> speaker_of(Path("small/100/book/01_page.flac"), Path("."))
    'small'
    >>> speaker_of(Path("small/100/book/01_page.flac"), Path("."), level=2)
    '100'
    """
    inside = path.relative_to(folder).parts[:-1]
    if level is not None:
        if not 1 <= level <= len(inside):
            raise ValueError(
                f"{path} lies in {len(inside)} folders of {folder}: there is no level {level}"
            )
        return inside[level - 1]
    parent, *more = path.absolute().parents
    told = _CHAPTERS.fullmatch(path.stem)
    if told and more and (more[0].name, parent.name) == told.groups():
        return told[1]
    told = _SENTENCES.fullmatch(path.stem)
    if told and parent.name == told[1]:
        return told[1]
    return inside[0] if inside else ""
