"""The user's own mixtures, from one CSV file."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from libri2mix_manifests import all_files, describe, limited, write_manifests

from wavcube.data.manifest import parse_path, read_rows
from wavcube.data.mixing.mixtures import MixtureRow

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
    complete = describe(arguments, [table, *all_files(rows)], table.parent, limit)
    return write_manifests(rows, complete, table.parent, out_folder, max_bad_fraction, progress)


def _parse(fields: dict[str, str], place: str, here: Path) -> MixtureRow:
    def locate(column: str, needed: bool = True) -> str:
        if not needed and not fields.get(column, "").strip():
            return ""
        path = parse_path(fields, column, place, here, None)
        if not path.is_file():
            raise FileNotFoundError(f"{place}, column {column!r}: there is no file {path}")
        return str(path)

    def gain(column: str) -> float:
        text = fields.get(column, "").strip() or "1"
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise ValueError(f"{place}, column {column!r}: {text!r} is no gain above 0")
        return value

    name = fields["mixture_ID"].strip()
    if not name:
        raise ValueError(f"{place}, column 'mixture_ID': it is empty")
    speakers = fields.get("spk_id", "").strip()
    if speakers and len(set(speakers.split("_"))) != 2:
        raise ValueError(
            f"{place}, column 'spk_id': {speakers!r} is not two different speakers joined by '_'"
        )
    noise = locate("noise_path", needed=False)
    return MixtureRow(
        name,
        (locate("source_1_path"), locate("source_2_path")),
        (gain("source_1_gain"), gain("source_2_gain")),
        noise,
        gain("noise_gain") if noise else 0.0,
        locate("mixture_path", needed=False),
        spk_id=speakers,
    )
