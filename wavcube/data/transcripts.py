"""Transcripts of the user's own audio, and its speakers kept apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from wavcube.data.manifest import Utterance
from wavcube.data.splits import hold_back_utterances

__all__ = ["read_transcripts_beside", "split_by_speaker"]


def read_transcripts_beside(rows: Sequence[Utterance]) -> list[Utterance]:
    """Fill in transcripts from the text files that lie beside the audio: a.txt for a.wav.

    Parameters
    ----------
    rows : sequence of Utterance
        Those that have a transcript keep it.

    Returns
    -------
    list of Utterance
        The same rows; a transcript stays empty where there is no such file.

    Raises
    ------
    ValueError
        If a file is not UTF-8.
    """
    return [row if row.wrd else replace(row, wrd=_read_beside(row)) for row in rows]


def _read_beside(row: Utterance) -> str:
    path = Path(row.wav).with_suffix(".txt")
    if not path.is_file():
        return ""
    try:
        return " ".join(path.read_text(encoding="utf-8-sig").split())
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8: {error}") from error


def split_by_speaker(
    rows: Mapping[str, Sequence[Utterance]],
    test_speakers: Sequence[str],
    seed: int,
    valid_fraction: float = 0.1,
) -> dict[str, list[Utterance]]:
    """Test on some speakers, and train on all the others.

    Parameters
    ----------
    rows : Mapping of str to sequence of Utterance
        By part; all of them are divided anew.
    test_speakers : sequence of str
        As `spk_id` has them.
    seed : int
        Draws the utterances for validation.
    valid_fraction : float
        Their share of what is left.

    Returns
    -------
    dict of str to list of Utterance
        "train", "valid" and "test".

    Raises
    ------
    ValueError
        If there is no such speaker, or too little is left.

    Examples
    --------
    >>> rows = [Utterance(f"{name}{i}", 1.0, "", name) for name in "ab" for i in range(4)]
    >>> parts = split_by_speaker({"all": rows}, ["b"], seed=1)
    >>> {name: sorted({row.spk_id for row in part}) for name, part in parts.items()}
    {'train': ['a'], 'valid': ['a'], 'test': ['b']}
    """
    everything = sorted((row for part in rows.values() for row in part), key=lambda row: row.ID)
    there = sorted({row.spk_id for row in everything})
    if missing := sorted({str(name) for name in test_speakers} - set(there)):
        raise ValueError(f"test_speakers {missing} speak nothing; there are {there}")
    kept = {str(name) for name in test_speakers}
    rest = [row for row in everything if row.spk_id not in kept]
    if len(rest) < 2:
        raise ValueError(f"without {sorted(kept)} {len(rest)} utterances are left; 2 are needed")
    train, valid = hold_back_utterances(rest, valid_fraction, seed)
    test = [row for row in everything if row.spk_id in kept]
    return {"train": train, "valid": valid, "test": test}
