"""Transcripts of the user's own audio, and its speakers kept apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from wavcube.data.manifest import Utterance, hold_out_utterances
from wavcube.data.texts import iterate_rows, read_lines, read_text

__all__ = [
    "place_of",
    "read_transcripts",
    "read_transcripts_beside",
    "row_of",
    "split_by_speaker",
]


def read_transcripts(path: str | Path) -> dict[str, str]:
    r"""Read what is said from one file.

    Parameters
    ----------
    path : str or Path
        UTF-8 text, on each line a clip's relative name without suffix, a tab or a space, and its
        text (as in LibriSpeech's ``*.trans.txt``). A name with spaces in it needs the tab.

    Returns
    -------
    dict of str to str
        Text by name.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not such a file; the message names the line.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "texts.txt"
    >>> _ = path.write_text("a/one HELLO THERE\nmy clip\tAND HERE\n")
    >>> read_transcripts(path)
    {'a/one': 'HELLO THERE', 'my clip': 'AND HERE'}
    """
    texts: dict[str, str] = {}
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        name, _, text = line.partition("\t" if "\t" in line else " ")
        if not name or not text.strip():
            raise ValueError(f"{path}, line {number}: a name and its text are needed, got {line!r}")
        if name in texts:
            raise ValueError(f"{path}, line {number}: {name!r} has a text already")
        texts[name] = text.strip()
    return texts


def read_transcripts_beside(rows: Sequence[Utterance]) -> list[Utterance]:
    """Fill in transcripts from the text files that lie beside the audio.

    Parameters
    ----------
    rows : sequence of Utterance
        Those that have a transcript keep it.

    Returns
    -------
    list of Utterance
        The same rows, with the text of a.txt for a.wav, or of the line "a" in a `*.trans.txt` of
        its folder, as LibriSpeech has them; empty where there is neither.

    Raises
    ------
    ValueError
        If a file is not UTF-8, or a `*.trans.txt` is broken.
    """
    listed: dict[Path, dict[str, str]] = {}
    return [row if row.wrd else replace(row, wrd=_read_beside(row, listed)) for row in rows]


def _read_beside(row: Utterance, listed: dict[Path, dict[str, str]]) -> str:
    path = Path(row.wav).with_suffix(".txt")
    if not path.is_file():
        folder = path.parent
        if folder not in listed:
            found = sorted(folder.glob("*.trans.txt"))
            listed[folder] = {k: v for file in found for k, v in read_transcripts(file).items()}
        return listed[folder].get(path.stem, "")
    return " ".join(read_text(path).split())


def place_of(row: Utterance, source: str | Path | None) -> str:
    r"""Say where the user finds the transcript of a row.

    Parameters
    ----------
    row : Utterance
        Of a manifest.
    source : str or Path, optional
        What the user gave: a CSV, or a folder.

    Returns
    -------
    str
        Its row in the CSV; otherwise its audio file, beside which the text lies.

    Examples
    --------
    >>> table = getfixture("tmp_path") / "mine.csv"
    >>> _ = table.write_text("wav,wrd\na.wav,ONE\nb.wav,\n")
    >>> place_of(Utterance("b", 1.0, "b.wav"), table).rpartition("/")[2]
    "mine.csv, row 2 (b), column 'wrd'"
    >>> place_of(Utterance("b", 1.0, "my/b.wav"), "my")
    'the text of my/b.wav'
    """
    place = row_of(row, source)
    return f"the text of {place}" if place == row.wav else f"{place}, column 'wrd'"


def row_of(row: Utterance, source: str | Path | None) -> str:
    """Say where the user finds a row.

    Parameters
    ----------
    row : Utterance
        Of a manifest.
    source : str or Path, optional
        What the user gave: a CSV, or a folder.

    Returns
    -------
    str
        Its place in the CSV; otherwise its audio file.

    Examples
    --------
    >>> row_of(Utterance("b", 1.0, "my/b.wav"), "my")
    'my/b.wav'
    """
    if source is not None and Path(source).is_file():
        for place, own in iterate_rows(source):
            if row.ID == own.get("ID", Path(own.get("wav") or "").stem).strip():
                return f"{place} ({row.ID})"
    return row.wav


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
    train, valid = hold_out_utterances(rest, valid_fraction, seed)
    test = [row for row in everything if row.spk_id in kept]
    return {"train": train, "valid": valid, "test": test}
