"""Libri2Mix to manifests of mixtures, from four kinds of data; no audio is written.

- LibriSpeech with LibriMix's published metadata: mixtures are made while they are read;
- anything in LibriSpeech's layout without metadata: the same, and the metadata are drawn;
- a Libri2Mix that LibriMix's scripts have made: `wav16k/min/train-100/{mix_clean,mix_both,s1,s2}`;
- a CSV file of the user's own mixtures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from libri2mix_drawn import prepare_drawn
from libri2mix_manifests import all_files, describe, limited, thinned, write_manifests
from libri2mix_metadata import read_metadata
from libri2mix_own import prepare_own_mixtures

from wavcube.data.mixing.mixtures import MixtureRow
from wavcube.data.scan import find_audio
from wavcube.data.synthetic import default_cache_folder, make_embedded_noises

Mode = Literal["min", "max"]


def prepare_mixtures(
    source: Path, out_folder: Path, hparams: Mapping[str, Any], sample_rate: int
) -> dict[str, Path]:
    """Write the manifests of train, valid and test of whatever kind of data there is.

    Parameters
    ----------
    source : Path
        One of the four kinds.
    out_folder : Path
        For the manifests.
    hparams : Mapping
        Of the recipe: `data_folder` (None for embedded speech, which has noise of its own),
        `embedded_folder`, `mode`, `noisy`, `noise_folder`, `metadata_folder`, `train_splits`,
        `mixtures` (of each role at most), `min_seconds`, `held_back_roles`, `held_back_speakers`,
        `max_bad_fraction` and `data_seed`.
    sample_rate : int
        Of the model, in Hz.

    Returns
    -------
    dict[str, Path]
        Manifest of "train", "valid" and "test"; `$data_root` in them stands for the folder.

    Raises
    ------
    FileNotFoundError
        When a folder, a metadata file or an audio file is missing.
    ValueError
        When noise is wanted and there is none, or as the four functions do.
    """
    shared = {name: hparams[name] for name in ("mode", "max_bad_fraction")}
    limit, noises = hparams["mixtures"], hparams["noise_folder"] if hparams["noisy"] else None
    if source.is_file():
        return prepare_own_mixtures(source, out_folder, limit=limit, **shared)
    if any((source / name).is_dir() for name in ("wav8k", "wav16k")):
        splits = [name.replace("train-clean-", "train-") for name in hparams["train_splits"]]
        chosen = {"train_splits": splits, "noisy": hparams["noisy"], "sample_rate": sample_rate}
        return prepare_generated(source, out_folder, limit=limit, **chosen, **shared)
    if hparams["noisy"] and noises is None and hparams["data_folder"] is None:
        made = make_embedded_noises(hparams["embedded_folder"] or default_cache_folder())
        noises = {role: folders.noises for role, folders in made.items()}
    if hparams["noisy"] and noises is None:
        raise ValueError("noisy mixtures need noise: give a noise_folder, or leave noisy out")
    if hparams["metadata_folder"] is not None:
        chosen = {"train_splits": hparams["train_splits"], "noise_folder": noises}
        folders = source, hparams["metadata_folder"], out_folder
        return prepare_published(*folders, limit=limit, **chosen, **shared)
    chosen = {
        name: hparams[name] for name in ("min_seconds", "held_back_roles", "held_back_speakers")
    }
    levels = {"sample_rate": sample_rate, "counts": limit, "noise_folder": noises}
    seed = hparams["data_seed"]
    return prepare_drawn(source, out_folder, seed=seed, **levels, **chosen, **shared)


def prepare_published(
    data_folder: str | Path,
    metadata_folder: str | Path,
    out_folder: str | Path,
    *,
    mode: Mode = "min",
    noise_folder: str | Path | None = None,
    train_splits: Sequence[str] = ("train-clean-100",),
    limit: Mapping[str, int | None] | None = None,
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
    limit : Mapping[str, int | None] | None
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


def prepare_generated(
    data_folder: str | Path,
    out_folder: str | Path,
    *,
    sample_rate: int = 16000,
    mode: Mode = "min",
    noisy: bool = False,
    train_splits: Sequence[str] = ("train-100",),
    limit: Mapping[str, int | None] | None = None,
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
    sample_rate : int
        Of the model, in Hz: at 8000 `wav8k` is taken where it is, otherwise `wav16k`, whose files
        are resampled while they are read.
    mode : {"min", "max"}
        Which of the two.
    noisy : bool
        Take `mix_both` instead of `mix_clean`.
    train_splits : Sequence[str]
        Which of the training parts, "train-100" and "train-360".
    limit : Mapping[str, int | None] | None
        Mixtures of a role at most, at even distances: files are sorted by their speakers.
    max_bad_fraction, progress
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
    narrow = sample_rate == 8000 and (Path(data_folder) / "wav8k").is_dir()
    rate = 8000 if narrow else 16000
    top = Path(data_folder) / f"wav{rate // 1000}k" / mode
    splits = {"train": tuple(train_splits), "valid": ("dev",), "test": ("test",)}
    kind = "mix_both" if noisy else "mix_clean"
    rows = {
        role: [row for split in names for row in _list_generated(top / split, kind)]
        for role, names in splits.items()
    }
    rows = thinned(rows, limit)
    arguments = {
        "max_bad_fraction": max_bad_fraction,
        "mode": mode,
        "rate": rate,
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
        speakers = [name.partition("-")[0] for name in path.stem.split("_")]
        row = MixtureRow(path.stem, sources, (1.0, 1.0), mixture=str(path))
        rows.append(replace(row, spk_id="_".join(speakers)))
    return rows
