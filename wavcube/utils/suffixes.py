"""What the names of our files end in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".au", ".w64", ".caf")
LATENT_SUFFIXES = (".safetensors",)
# lossless: a copy in a lossy format would be judged for what the format lost
WRITTEN_SUFFIXES = (".wav", ".flac")


def check_suffix(path: str | Path, suffixes: Sequence[str]) -> None:
    """Refuse the name of an output that ends in something else.

    Parameters
    ----------
    path : str or Path
        The name.
    suffixes : sequence of str
        What it may end in, in lower case.

    Raises
    ------
    ValueError
        If it does not.

    Examples
    --------
    >>> check_suffix("copy.WAV", WRITTEN_SUFFIXES)
    >>> check_suffix("copy.mp3", WRITTEN_SUFFIXES)
    Traceback (most recent call last):
    ...
    ValueError: copy.mp3 must end in .wav or .flac
    """
    if Path(path).suffix.lower() not in suffixes:
        raise ValueError(f"{path} must end in {' or '.join(suffixes)}")
