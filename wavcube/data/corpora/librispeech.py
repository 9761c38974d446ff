"""LibriSpeech (or anything in its folders) to manifests.

Transcripts are read where there are any. The corpus: V. Panayotov et al., "LibriSpeech: an ASR
corpus based on public domain audio books", ICASSP 2015, https://www.openslr.org/12.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wavcube.data.manifest import Utterance, hold_out_speakers, require_disjoint_speakers
from wavcube.data.prepare import (
    Made,
    check_files,
    find_audio,
    prepare_once,
    prepare_own_audio,
)
from wavcube.data.transcripts import read_transcripts

logger = logging.getLogger(__name__)

# splits as they are published, by LibriSpeech and (train-clean-5, dev-clean-2) Mini LibriSpeech;
# a folder of another name is the user's own
SPLITS = {
    "train": ("train-clean-100", "train-clean-360", "train-other-500", "train-clean-5"),
    "valid": ("dev-clean", "dev-other", "dev-clean-2"),
    "test": ("test-clean", "test-other"),
}


def prepare(source: Path, out_folder: Path, hparams: Mapping[str, Any]) -> dict[str, Path]:
    """Write the manifests of train, valid and test: LibriSpeech's, or of the user's own audio.

    Parameters
    ----------
    source : Path
        LibriSpeech, any folder of wav and flac files, or a CSV.
    out_folder : Path
        See :func:`prepare_librispeech`.
    hparams : Mapping
        Of the recipe, with `held_out_speakers` and `max_bad_fraction`; it may have `train_splits`,
        `valid_splits` and `test_splits`.

    Returns
    -------
    dict[str, Path]
        Manifest of "train", "valid" and "test".
    """
    limits: dict[str, Any] = {"max_bad_fraction": hparams["max_bad_fraction"]}
    if not is_librispeech(source):
        return prepare_own_audio(source, out_folder, **limits)
    splits: dict[str, Any] = {
        key: hparams.get(key) for key in ("train_splits", "valid_splits", "test_splits")
    }
    held_out = hparams["held_out_speakers"]
    return prepare_librispeech(source, out_folder, held_out_speakers=held_out, **splits, **limits)


def prepare_librispeech(
    data_folder: str | Path,
    out_folder: str | Path,
    *,
    train_splits: Sequence[str] | None = None,
    valid_splits: Sequence[str] | None = None,
    test_splits: Sequence[str] | None = None,
    held_out_speakers: int = 10,
    seed: int = 1234,
    max_bad_fraction: float = 0.01,
    progress: bool = True,
) -> dict[str, Path]:
    """Write the manifests of train, valid and test; at once when an earlier call has.

    Parameters
    ----------
    data_folder : str | Path
        The folder that holds `train-clean-100` and its like.
    out_folder : str | Path
        For `train.csv`, `valid.csv`, `test.csv`; and `bad_files.csv` when files were left out.
    train_splits, valid_splits, test_splits : Sequence[str] | None
        Names of folders. None takes all of LibriSpeech's and Mini LibriSpeech's that are there.
    held_out_speakers : int
        Without a split for validation, this many training speakers are held out for it.
    seed : int
        Draws the speakers.
    max_bad_fraction : float
        How many files may be bad before the run stops.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    dict[str, Path]
        Manifest of "train", "valid" and "test"; `$data_root` in them stands for `data_folder`.

    Raises
    ------
    FileNotFoundError
        When the folder or a split is missing.
    ValueError
        When a split is named twice, there is none to train on or to test on, two manifests share
        a speaker, or too many files are bad.
    """
    data_folder = Path(data_folder)
    asked = {"train": train_splits, "valid": valid_splits, "test": test_splits}
    splits = choose_splits(data_folder, asked)
    files = {name: find_audio(data_folder / name) for names in splits.values() for name in names}
    arguments = {
        "data_folder": str(data_folder.resolve()),
        "splits": splits,
        "held_out_speakers": held_out_speakers,
        "seed": seed,
        "max_bad_fraction": max_bad_fraction,
    }

    def make() -> Made:
        rows = {name: list_utterances(data_folder / name, files[name]) for name in sorted(files)}
        everything = [row for name in rows for row in rows[name]]
        scan = check_files(everything, max_bad_fraction=max_bad_fraction, progress=progress)
        return assign_roles(rows, scan.utterances, splits, held_out_speakers, seed), scan.bad

    sources = [path for name in files for path in files[name]]
    sources += [path for name in files for path in find_transcripts(data_folder / name)]
    return prepare_once(out_folder, arguments, sources, make, data_root=data_folder)


def assign_roles(
    rows: Mapping[str, Sequence[Utterance]],
    good: Sequence[Utterance],
    splits: Mapping[str, Sequence[str]],
    held_out_speakers: int,
    seed: int,
) -> dict[str, list[Utterance]]:
    """Give the good ones of each split's rows to train, valid and test, which share no speaker."""
    checked = {row.wav: row for row in good}
    manifests = {
        role: [checked[row.wav] for name in names for row in rows[name] if row.wav in checked]
        for role, names in splits.items()
    }
    if not splits["valid"]:
        manifests["train"], manifests["valid"] = hold_out_speakers(
            manifests["train"], held_out_speakers, seed
        )
        logger.info("validation: %d speakers held out from training", held_out_speakers)
    require_disjoint_speakers(manifests)
    return manifests


def is_librispeech(folder: str | Path) -> bool:
    """Tell whether a folder holds a split of LibriSpeech."""
    return any(found for found in find_splits(Path(folder)).values())


def find_splits(data_folder: Path) -> dict[str, list[str]]:
    """List LibriSpeech's folders that are there, for each of train, valid and test."""
    return {
        role: [name for name in names if (data_folder / name).is_dir()]
        for role, names in SPLITS.items()
    }


def choose_splits(
    data_folder: Path, asked: dict[str, Sequence[str] | None]
) -> dict[str, list[str]]:
    """Settle which folders make train, valid and test; see `prepare_librispeech`."""
    if not data_folder.is_dir():
        raise FileNotFoundError(f"there is no folder {data_folder}")
    found = find_splits(data_folder)
    splits = {role: found[role] if names is None else list(names) for role, names in asked.items()}
    present = ", ".join(name for names in found.values() for name in names) or "none"
    inner = data_folder / "LibriSpeech"
    hint = f"; pass {inner}" if inner.is_dir() else ""
    for role in ("train", "test"):
        if not splits[role]:
            raise ValueError(
                f"{data_folder} has no split to {role} on: {role}_splits names none of the "
                f"folders there ({present})" + hint
            )
    names = [name for role in splits for name in splits[role]]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"split {name} is named {names.count(name)} times in {splits}")
        if not (data_folder / name).is_dir():
            raise FileNotFoundError(f"{data_folder} has no split {name}; there are: {present}")
    return splits


def list_utterances(split: Path, files: Sequence[Path]) -> list[Utterance]:
    """List a split's utterances, with speakers and, where there are any, transcripts."""
    words: dict[str, str] = {}
    for path in find_transcripts(split):
        words.update(read_transcripts(path))
    rows: list[Utterance] = []
    for path in files:
        inside = path.relative_to(split)
        if len(inside.parts) < 2:
            raise ValueError(f"{path} is in no speaker's folder: {split}/<speaker>/<chapter>/")
        rows.append(Utterance(path.stem, 0.0, str(path), inside.parts[0], words.get(path.stem, "")))
    return rows


def find_transcripts(split: Path) -> list[Path]:
    """List a split's `.trans.txt` files."""
    return sorted(split.glob("*/*/*.trans.txt"))
