"""Libri2Mix to manifests of mixtures, from four kinds of data; no audio is written.

- LibriSpeech with LibriMix's published metadata: mixtures are made while they are read;
- anything in LibriSpeech's layout without metadata: the same, and the metadata are drawn;
- a Libri2Mix that LibriMix's scripts have made: `wav16k/min/train-100/{mix_clean,mix_both,s1,s2}`;
- a CSV file of the user's own mixtures.

J. Cosentino et al., "LibriMix: An open-source dataset for generalizable speech separation", arXiv
2005.11262; the published metadata are `metadata/Libri2Mix/libri2mix_<split>.csv` of
https://github.com/JorisCos/LibriMix, with one row for a mixture:
mixture_ID, source_1_path, source_1_gain, source_2_path, source_2_gain, noise_path, noise_gain.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from wavcube.data.corpora.libri2mix_drawn import draw_mixtures
from wavcube.data.manifest import (
    Utterance,
    evenly_spaced,
    hold_out_speakers,
    parse_path,
    require_disjoint_speakers,
)
from wavcube.data.mixing.mixtures import MixtureRow, write_mixtures
from wavcube.data.mixing.noisy import share_out_noises
from wavcube.data.prepare import (
    BadFile,
    Made,
    check_files,
    find_audio,
    prepare_once,
    scan_audio_folder,
)
from wavcube.data.synthetic import default_cache_folder, make_synthetic_noises
from wavcube.data.texts import read_rows

Mode = Literal["min", "max"]
# names of splits begin so: train-clean-100, train-100, dev-clean, dev, test-clean, test
PREFIXES = {"train": "train", "valid": "dev", "test": "test"}
# folders of WHAM's noise
WHAM = {"train": "tr", "valid": "cv", "test": "tt"}


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
        Of the recipe: `data_folder` (None for synthetic speech, which has noise of its own),
        `synthetic_folder`, `mode`, `noisy`, `noise_folder`, `metadata_folder`, `train_splits`,
        `mixtures` (of each role at most), `min_seconds`, `held_out_roles`, `held_out_speakers`,
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
        made = make_synthetic_noises(hparams["synthetic_folder"] or default_cache_folder())
        noises = {role: folders.noises for role, folders in made.items()}
    if hparams["noisy"] and noises is None:
        raise ValueError("noisy mixtures need noise: give a noise_folder, or leave noisy out")
    if hparams["metadata_folder"] is not None:
        chosen = {"train_splits": hparams["train_splits"], "noise_folder": noises}
        metadata = hparams["metadata_folder"]
        return prepare_published(source, metadata, out_folder, limit=limit, **chosen, **shared)
    chosen = {
        name: hparams[name] for name in ("min_seconds", "held_out_roles", "held_out_speakers")
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
    places: dict[str, Any] = {"data_root": data_folder, "write": write_mixtures}
    make = partial(check_mixtures, rows, mode, max_bad_fraction, progress)
    complete = describe(arguments, data_folder, limit)
    return prepare_once(out_folder, complete, [*sources, *all_files(rows)], make, **places)


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
    places: dict[str, Any] = {"data_root": data_folder, "write": write_mixtures}
    make = partial(check_mixtures, rows, mode, max_bad_fraction, progress)
    complete = describe(arguments, data_folder, limit)
    return prepare_once(out_folder, complete, all_files(rows), make, **places)


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


def prepare_drawn(
    data_folder: str | Path,
    out_folder: str | Path,
    *,
    sample_rate: int,
    counts: Mapping[str, int | None],
    mode: Literal["min", "max"] = "min",
    noise_folder: str | Path | Mapping[str, Path] | None = None,
    min_seconds: float = 1.0,
    held_out_roles: Sequence[str] = (),
    held_out_speakers: int = 20,
    seed: int = 1234,
    max_bad_fraction: float = 0.01,
    progress: bool = True,
) -> dict[str, Path]:
    """Draw the metadata of train, valid and test, and write their manifests.

    Parameters
    ----------
    data_folder : str | Path
        Anything in LibriSpeech's layout, the synthetic corpus too, with splits whose names begin
        with "train" and, where there are any, "dev" and "test".
    out_folder : str | Path
        For `train.csv`, `valid.csv`, `test.csv`; and `bad_files.csv` when some were left out.
    sample_rate : int
        At which levels are measured, in Hz.
    counts : Mapping[str, int | None]
        Mixtures of "train", "valid" and "test"; None for as many as use every utterance once.
    mode : {"min", "max"}
        Of the durations in the manifests, and of the dataset that reads them.
    noise_folder : str | Path | Mapping[str, Path] | None
        For noisy mixtures: a folder for each role, WHAM's with `tr`, `cv` and `tt`, or any, whose
        files are then shared out among the roles.
    min_seconds : float
        Shorter utterances are left out; LibriMix itself takes 3 s.
    held_out_roles : Sequence[str]
        Of "valid" and "test", those that get training speakers whatever splits there are.
    held_out_speakers : int
        Training speakers for each role that is held out, or that has no split of its own.
    seed : int
        Draws everything.
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
        When a folder is missing.
    ValueError
        When there is no training split, a role has fewer than two speakers, two roles share a
        speaker, or too many files are bad.
    """
    data_folder = Path(data_folder)
    if unknown := sorted(set(held_out_roles) - {"valid", "test"}):
        raise ValueError(f"held_out_roles are of 'valid' and 'test', not {unknown}")
    noises = _find_noises(noise_folder, max_bad_fraction)
    files = {
        role: [path for split in _splits(data_folder, prefix) for path in find_audio(split)]
        for role, prefix in PREFIXES.items()
        if role == "train" or role not in held_out_roles
    }
    arguments = {
        "max_bad_fraction": max_bad_fraction,
        "mode": mode,
        "counts": dict(counts),
        "min_seconds": min_seconds,
        "held_out": [sorted(held_out_roles), held_out_speakers],
        "seed": seed,
        "sample_rate": sample_rate,
    }
    sources = [Path(row.wav) for found in noises.values() for row in found]
    sources += [path for found in files.values() for path in found]
    complete = describe(arguments, data_folder)

    def make() -> Made:
        rows, bad = _usable_utterances(files, data_folder, min_seconds, max_bad_fraction, progress)
        for role in ("valid", "test"):
            if not rows.get(role):
                held_out = hold_out_speakers(rows["train"], held_out_speakers, seed)
                rows["train"], rows[role] = held_out
        settings = {"sample_rate": sample_rate, "seed": seed}
        drawn = {
            role: draw_mixtures(found, noises[role], counts[role], **settings, role=role)
            for role, found in rows.items()
        }
        manifests, damaged = check_mixtures(drawn, mode, max_bad_fraction, progress)
        return manifests, [*bad, *damaged]

    places: dict[str, Any] = {"data_root": data_folder, "write": write_mixtures}
    return prepare_once(out_folder, complete, sources, make, **places)


def _usable_utterances(
    files: Mapping[str, Sequence[Path]],
    data_folder: Path,
    min_seconds: float,
    max_bad_fraction: float,
    progress: bool,
) -> tuple[dict[str, list[Utterance]], list[BadFile]]:
    """Look into the files of each role: those that are long enough, and the bad ones of all."""
    rows = {
        role: [_utterance(path, data_folder) for path in found] for role, found in files.items()
    }
    scan = check_files(
        [row for found in rows.values() for row in found],
        max_bad_fraction=max_bad_fraction,
        progress=progress,
    )
    usable = {row.wav: row for row in scan.utterances if row.duration >= min_seconds}
    kept = {
        role: [usable[row.wav] for row in found if row.wav in usable]
        for role, found in rows.items()
    }
    return kept, scan.bad


def _splits(data_folder: Path, prefix: str) -> list[Path]:
    if not data_folder.is_dir():
        raise FileNotFoundError(f"there is no folder {data_folder}")
    found = sorted(path for path in data_folder.glob(f"{prefix}-*") if path.is_dir())
    if not found and prefix == PREFIXES["train"]:
        raise ValueError(f"{data_folder} has no split whose name begins with {prefix!r}")
    return found


def _find_noises(
    folder: str | Path | Mapping[str, Path] | None, max_bad_fraction: float
) -> dict[str, list[Utterance]]:
    """List the noises of each role; no file serves two of them."""
    if folder is None:
        return {role: [] for role in PREFIXES}
    if isinstance(folder, Mapping):
        own = dict(folder)
    else:
        own = {role: Path(folder, name) for role, name in WHAM.items()}
        if not all(path.is_dir() for path in own.values()):
            return share_out_noises(folder, max_bad_fraction=max_bad_fraction)
    return {
        role: scan_audio_folder(path, max_bad_fraction=max_bad_fraction).utterances
        for role, path in own.items()
    }


def _utterance(path: Path, data_folder: Path) -> Utterance:
    """Name a file and its speaker: the folder in the split."""
    inside = path.relative_to(data_folder).with_suffix("").parts[1:]
    speaker = inside[0] if len(inside) > 1 else ""
    # LibriSpeech's names say speaker and chapter themselves
    name = path.stem if path.stem.startswith(f"{speaker}-") else "-".join(inside)
    return Utterance(name, 0.0, str(path), speaker)


def check_mixtures(
    rows: Mapping[str, Sequence[MixtureRow]], mode: Mode, max_bad_fraction: float, progress: bool
) -> Made:
    """Check every file once, and fill in durations."""
    scan = check_files(
        [Utterance(str(path), 0.0, str(path)) for path in all_files(rows)],
        max_bad_fraction=max_bad_fraction,
        progress=progress,
    )
    durations = {row.wav: row.duration for row in scan.utterances}
    ends = min if mode == "min" else max
    manifests = {
        role: [
            replace(row, duration=ends(durations[wav] for wav in row.sources))
            for row in found
            if all(wav in durations for wav in _files(row))
        ]
        for role, found in rows.items()
    }
    _require_disjoint(manifests)
    return manifests, scan.bad


def describe(
    arguments: Mapping[str, Any],
    data_folder: str | Path,
    limit: Mapping[str, int | None] | None = None,
) -> dict[str, Any]:
    """Describe what manifests depend on beside files; see `wavcube.data.prepare.prepare_once`."""
    folder = str(Path(data_folder).resolve())
    return {**arguments, "data_folder": folder, "limit": dict(limit or {})}


def limited(
    rows: Mapping[str, list[MixtureRow]], limit: Mapping[str, int | None] | None
) -> dict[str, list[MixtureRow]]:
    """Take the first mixtures of the roles that have a limit."""
    return {role: found[: (limit or {}).get(role)] for role, found in rows.items()}


def thinned(
    rows: Mapping[str, list[MixtureRow]], limit: Mapping[str, int | None] | None
) -> dict[str, list[MixtureRow]]:
    """Take mixtures at even distances of the roles that have a limit: sorted ones differ slowly."""
    limits = {role: (limit or {}).get(role) for role in rows}
    return {
        role: found if (count := limits[role]) is None else evenly_spaced(found, count)
        for role, found in rows.items()
    }


def all_files(rows: Mapping[str, Sequence[MixtureRow]]) -> list[Path]:
    """List every file that mixtures are made of, once."""
    return sorted({Path(wav) for found in rows.values() for row in found for wav in _files(row)})


def _files(row: MixtureRow) -> list[str]:
    return [wav for wav in (*row.sources, row.noise, row.mixture) if wav]


def _require_disjoint(manifests: Mapping[str, Sequence[MixtureRow]]) -> None:
    require_disjoint_speakers(
        {
            role: [
                Utterance(row.ID, 0.0, row.sources[0], speaker)
                for row in rows
                for speaker in row.spk_id.split("_")
            ]
            for role, rows in manifests.items()
        }
    )


COLUMNS = (
    "mixture_ID",
    "source_1_path",
    "source_1_gain",
    "source_2_path",
    "source_2_gain",
    "noise_path",
    "noise_gain",
)


def read_metadata(
    path: str | Path, speech_folder: str | Path, noise_folder: str | Path | None
) -> list[MixtureRow]:
    """Read a metadata file; paths in it are relative to the two folders.

    Parameters
    ----------
    path : str | Path
        CSV file with LibriMix's columns; others are passed over.
    speech_folder : str | Path
        LibriSpeech: the folder that holds `train-clean-100` and its like.
    noise_folder : str | Path | None
        `wham_noise`: the folder that holds `tr`, `cv` and `tt`. Without one the noise is left out
        and its columns may be missing.

    Returns
    -------
    list[MixtureRow]
        Without durations.

    Raises
    ------
    FileNotFoundError
        When the file, or one that it names, is missing.
    ValueError
        When a column is missing, a field is empty or a gain is not a number above 0; each with the
        row's place.
    """
    needed = COLUMNS if noise_folder is not None else COLUMNS[:5]
    speech, rows = Path(speech_folder), []
    for place, fields in read_rows(Path(path), needed):
        sources = tuple(_file(fields, f"source_{i}_path", place, speech) for i in (1, 2))
        speakers = [Path(source).stem.partition("-")[0] for source in sources]
        if len(set(speakers)) < 2:
            raise ValueError(f"{place}: both sources are of speaker {speakers[0]}")
        noise, noise_gain = "", 0.0
        if noise_folder is not None:
            noise = _file(fields, "noise_path", place, Path(noise_folder))
            noise_gain = _gain(fields, "noise_gain", place)
        gains = tuple(_gain(fields, f"source_{i}_gain", place) for i in (1, 2))
        name, spk_id = _name(fields, place), "_".join(speakers)
        rows.append(MixtureRow(name, sources, gains, noise, noise_gain, spk_id=spk_id))
    return rows


def _name(fields: Mapping[str, str], place: str) -> str:
    name = fields["mixture_ID"].strip()
    if not name:
        raise ValueError(f"{place}, column 'mixture_ID': it is empty")
    return name


def _file(fields: dict[str, str], column: str, place: str, folder: Path) -> str:
    path = parse_path(fields, column, place, folder, None)
    if not path.is_file():
        raise FileNotFoundError(f"{place}, column {column!r}: there is no file {path}")
    return str(path)


def _gain(fields: Mapping[str, str], column: str, place: str, default: str = "") -> float:
    text = fields.get(column, "").strip() or default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError(f"{place}, column {column!r}: {text!r} is not a gain above 0")
    return value


REQUIRED = ("mixture_ID", "split", "source_1_path", "source_2_path")
ROLES = ("train", "valid", "test")


def prepare_own_mixtures(
    table: str | Path,
    out_folder: str | Path,
    *,
    mode: Literal["min", "max"] = "min",
    limit: Mapping[str, int | None] | None = None,
    max_bad_fraction: float = 0.01,
    progress: bool = True,
) -> dict[str, Path]:
    """Write the manifests of train, valid and test from a table of the user's.

    Parameters
    ----------
    table : str | Path
        CSV file. Columns that must be there: `mixture_ID`; `split`, which is train, valid or test;
        `source_1_path` and `source_2_path`, relative to the file's folder. Others that are read:
        `source_1_gain`, `source_2_gain` and `noise_gain` (1 where they are missing or empty),
        `noise_path`, `mixture_path` (where the mixture is a file already), and `spk_id`, the
        speakers of the sources joined by "_", which new mixtures in every epoch need.
    out_folder : str | Path
        For `train.csv`, `valid.csv`, `test.csv`; and `bad_files.csv` when some were left out.
    mode : {"min", "max"}
        Of the durations in the manifests, and of the dataset that reads them.
    limit : Mapping[str, int | None] | None
        Mixtures of a role at most, the first ones.
    max_bad_fraction : float
        How many files may be bad before the run stops.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    dict[str, Path]
        Manifest of "train", "valid" and "test"; `$data_root` in them is the file's folder.

    Raises
    ------
    FileNotFoundError
        When the table, or a file that it names, is missing; with the row's place.
    ValueError
        When a column is missing, a field is wrong (with the row's place), a split has no mixture,
        two splits share a speaker or too many files are bad.
    """
    table = Path(table)
    rows: dict[str, list[MixtureRow]] = {role: [] for role in ROLES}
    for place, fields in read_rows(table, REQUIRED):
        role = fields["split"].strip()
        if role not in ROLES:
            raise ValueError(f"{place}, column 'split': {role!r} is not one of {', '.join(ROLES)}")
        rows[role].append(_parse(fields, place, table.parent))
    if empty := [role for role, found in rows.items() if not found]:
        raise ValueError(f"{table} has no mixture whose split is {' or '.join(empty)}")
    names = Counter(row.ID for found in rows.values() for row in found)
    if twice := [name for name, count in names.items() if count > 1]:
        raise ValueError(f"{table}, column 'mixture_ID': {twice[0]!r} stands there twice")
    rows = limited(rows, limit)
    arguments = {"max_bad_fraction": max_bad_fraction, "mode": mode, "table": table.name}
    complete = describe(arguments, table.parent, limit)
    make = partial(check_mixtures, rows, mode, max_bad_fraction, progress)
    places: dict[str, Any] = {"data_root": table.parent, "write": write_mixtures}
    return prepare_once(out_folder, complete, [table, *all_files(rows)], make, **places)


def _parse(fields: dict[str, str], place: str, here: Path) -> MixtureRow:
    speakers = fields.get("spk_id", "").strip()
    if speakers and len(set(speakers.split("_"))) != 2:
        raise ValueError(
            f"{place}, column 'spk_id': {speakers!r} is not two different speakers joined by '_'"
        )
    noise, mixture = (
        _file(fields, column, place, here) if fields.get(column, "").strip() else ""
        for column in ("noise_path", "mixture_path")
    )
    return MixtureRow(
        _name(fields, place),
        tuple(_file(fields, f"source_{i}_path", place, here) for i in (1, 2)),
        tuple(_gain(fields, f"source_{i}_gain", place, "1") for i in (1, 2)),
        noise,
        _gain(fields, "noise_gain", place, "1") if noise else 0.0,
        mixture,
        spk_id=speakers,
    )
