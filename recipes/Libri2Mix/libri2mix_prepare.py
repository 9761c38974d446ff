"""Libri2Mix to manifests of mixtures, from three kinds of folder; no audio is written.

- LibriSpeech with LibriMix's published metadata: mixtures are made while they are read;
- anything in LibriSpeech's layout without metadata: the same, and the metadata are drawn;
- a Libri2Mix that LibriMix's scripts have made: `wav16k/min/train-100/{mix_clean,mix_both,s1,s2}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from libri2mix_manifests import all_files, describe, limited, write_manifests
from libri2mix_metadata import draw_mixtures, read_metadata

from wavcube.data.manifest import Utterance
from wavcube.data.mixtures import MixtureRow
from wavcube.data.prepare import prepared_manifests
from wavcube.data.scan import find_audio

Mode = Literal["min", "max"]

# names of splits begin so: train-clean-100, train-100, dev-clean, dev, test-clean, test
ROLES = {"train": "train", "valid": "dev", "test": "test"}


def prepare_published(
    data_folder: str | Path,
    metadata_folder: str | Path,
    out_folder: str | Path,
    *,
    mode: Mode = "min",
    noise_folder: str | Path | None = None,
    train_splits: Sequence[str] = ("train-clean-100",),
    limit: Mapping[str, int] | None = None,
    max_bad_fraction: float = 0.01,
    progress: bool = True,
) -> dict[str, Path]:
    """Write the manifests of train, valid and test from LibriMix's metadata.

    Parameters
    ----------
    data_folder : str | Path
        LibriSpeech: the folder that holds `train-clean-100` and its like.
    metadata_folder : str | Path
        `metadata/Libri2Mix` of LibriMix, with `libri2mix_train-clean-100.csv` and its like.
    out_folder : str | Path
        For `train.csv`, `valid.csv`, `test.csv`; and `bad_files.csv` when some were left out.
    mode : {"min", "max"}
        Of the durations in the manifests, and of the dataset that reads them.
    noise_folder : str | Path | None
        `wham_noise`, for noisy mixtures.
    train_splits : Sequence[str]
        Which of the training parts.
    limit : Mapping[str, int] | None
        Mixtures of a role at most, the first ones: SUPERB takes 1000 of "valid".
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
        When a metadata file, or an audio file that it names, is missing.
    ValueError
        When a row is wrong, two roles share a speaker or too many files are bad.
    """
    splits = {"train": tuple(train_splits), "valid": ("dev-clean",), "test": ("test-clean",)}
    tables = {
        role: [Path(metadata_folder) / f"libri2mix_{split}.csv" for split in names]
        for role, names in splits.items()
    }
    rows = {
        role: [row for path in paths for row in read_metadata(path, data_folder, noise_folder)]
        for role, paths in tables.items()
    }
    rows = limited(rows, limit)
    arguments = {
        "max_bad_fraction": max_bad_fraction,
        "mode": mode,
        "splits": splits,
        "noisy": noise_folder is not None,
    }
    sources = [path for paths in tables.values() for path in paths]
    complete = describe(arguments, [*sources, *all_files(rows)], data_folder, limit)
    return write_manifests(rows, complete, data_folder, out_folder, max_bad_fraction, progress)


def prepare_drawn(
    data_folder: str | Path,
    out_folder: str | Path,
    *,
    sample_rate: int,
    counts: Mapping[str, int],
    mode: Mode = "min",
    noise_folder: str | Path | None = None,
    seed: int = 1234,
    max_bad_fraction: float = 0.01,
    progress: bool = True,
) -> dict[str, Path]:
    """Draw the metadata of train, valid and test, and write their manifests.

    Parameters
    ----------
    data_folder : str | Path
        Anything in LibriSpeech's layout, the embedded corpus too, with splits whose names begin
        with "train", "dev" and "test".
    out_folder : str | Path
        For `train.csv`, `valid.csv`, `test.csv`; and `bad_files.csv` when some were left out.
    sample_rate : int
        At which levels are measured, in Hz.
    counts : Mapping[str, int]
        Mixtures of "train", "valid" and "test".
    mode : {"min", "max"}
        As in `prepare_published`.
    noise_folder : str | Path | None
        Any folder of noise, for noisy mixtures.
    seed : int
        Draws everything.
    max_bad_fraction, progress
        As in `prepare_published`.

    Returns
    -------
    dict[str, Path]
        As in `prepare_published`.

    Raises
    ------
    FileNotFoundError
        When a folder is missing.
    ValueError
        When a role has no split or fewer than two speakers, two roles share a speaker, or too many
        files are bad.
    """
    data_folder = Path(data_folder)
    noises = [] if noise_folder is None else find_audio(noise_folder)
    splits = {role: _find_splits(data_folder, prefix) for role, prefix in ROLES.items()}
    files = {
        role: [p for split in found for p in find_audio(split)] for role, found in splits.items()
    }
    sources = [*noises, *(path for found in files.values() for path in found)]
    arguments = {
        "max_bad_fraction": max_bad_fraction,
        "mode": mode,
        "counts": dict(counts),
        "seed": seed,
        "sample_rate": sample_rate,
    }
    complete = describe(arguments, sources, data_folder)
    done = prepared_manifests(out_folder, complete)
    if done is not None:
        return done
    noise_rows = [Utterance(path.stem, 0.0, str(path)) for path in noises]
    rows = {
        role: draw_mixtures(
            [Utterance(path.stem, 0.0, str(path), _speaker(path)) for path in found],
            noise_rows,
            counts[role],
            sample_rate=sample_rate,
            seed=seed,
        )
        for role, found in files.items()
    }
    return write_manifests(rows, complete, data_folder, out_folder, max_bad_fraction, progress)


def prepare_generated(
    data_folder: str | Path,
    out_folder: str | Path,
    *,
    sample_rate: Literal[8000, 16000] = 16000,
    mode: Mode = "min",
    noisy: bool = False,
    train_split: str = "train-100",
    limit: Mapping[str, int] | None = None,
    max_bad_fraction: float = 0.01,
    progress: bool = True,
) -> dict[str, Path]:
    """Write the manifests of train, valid and test of a Libri2Mix on the disk.

    Parameters
    ----------
    data_folder : str | Path
        `Libri2Mix`: the folder that holds `wav8k` or `wav16k`.
    out_folder : str | Path
        For `train.csv`, `valid.csv`, `test.csv`; and `bad_files.csv` when some were left out.
    sample_rate : {8000, 16000}
        Which of the two.
    mode : {"min", "max"}
        Which of the two.
    noisy : bool
        Take `mix_both` instead of `mix_clean`.
    train_split : {"train-100", "train-360"}
        Which training part.
    limit, max_bad_fraction, progress
        As in `prepare_published`.

    Returns
    -------
    dict[str, Path]
        As in `prepare_published`.

    Raises
    ------
    FileNotFoundError
        When a folder, or a mixture's source, is missing.
    ValueError
        When two roles share a speaker or too many files are bad.
    """
    top = Path(data_folder) / f"wav{sample_rate // 1000}k" / mode
    splits = {"train": train_split, "valid": "dev", "test": "test"}
    kind = "mix_both" if noisy else "mix_clean"
    rows = {role: _list_generated(top / split, kind) for role, split in splits.items()}
    rows = limited(rows, limit)
    arguments = {
        "max_bad_fraction": max_bad_fraction,
        "mode": mode,
        "rate": sample_rate,
        "kind": kind,
        "splits": splits,
    }
    complete = describe(arguments, all_files(rows), data_folder, limit)
    return write_manifests(rows, complete, data_folder, out_folder, max_bad_fraction, progress)


def _list_generated(split: Path, kind: str) -> list[MixtureRow]:
    rows: list[MixtureRow] = []
    for path in find_audio(split / kind):
        sources = tuple(str(split / name / path.name) for name in ("s1", "s2"))
        missing = [source for source in sources if not Path(source).is_file()]
        if missing:
            raise FileNotFoundError(f"{path} has no source {missing[0]}")
        speakers = sorted(name.partition("-")[0] for name in path.stem.split("_"))
        row = MixtureRow(path.stem, sources, (1.0, 1.0), mixture=str(path))
        rows.append(replace(row, spk_id="_".join(speakers)))
    return rows


def _find_splits(data_folder: Path, prefix: str) -> list[Path]:
    if not data_folder.is_dir():
        raise FileNotFoundError(f"there is no folder {data_folder}")
    found = sorted(path for path in data_folder.glob(f"{prefix}-*") if path.is_dir())
    if not found:
        raise ValueError(f"{data_folder} has no split whose name begins with {prefix!r}")
    return found


def _speaker(path: Path) -> str:
    """LibriSpeech's names begin with the speaker."""
    return path.stem.partition("-")[0]
