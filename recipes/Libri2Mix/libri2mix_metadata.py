"""LibriMix's metadata as they are published.

J. Cosentino et al., "LibriMix: An open-source dataset for generalizable speech separation", arXiv
2005.11262; the published files are `metadata/Libri2Mix/libri2mix_<split>.csv` of
https://github.com/JorisCos/LibriMix, with one row for a mixture:
mixture_ID, source_1_path, source_1_gain, source_2_path, source_2_gain, noise_path, noise_gain.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

from wavcube.data.mixing.mixtures import MixtureRow

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
        When a column is missing, a field is empty or a gain is no number above 0; each with the
        row's place.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no metadata file {path}")
    needed = COLUMNS if noise_folder is not None else COLUMNS[:5]
    rows: list[MixtureRow] = []
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = [name for name in needed if name not in (reader.fieldnames or [])]
        if missing:
            raise ValueError(f"{path} has no column {', '.join(missing)}: not LibriMix's metadata")
        for number, fields in enumerate(reader, start=1):
            place = f"{path}, row {number}"
            empty = [name for name in needed if not (fields[name] or "").strip()]
            if empty:
                raise ValueError(f"{place}, column {empty[0]!r}: it is empty")
            rows.append(parse_row(fields, place, Path(speech_folder), noise_folder))
    if not rows:
        raise ValueError(f"{path} has a header and no rows")
    return rows


def parse_row(
    fields: dict[str, str], place: str, speech_folder: Path, noise_folder: str | Path | None
) -> MixtureRow:
    """Read one row; see `read_metadata`."""

    def locate(column: str, folder: str | Path) -> str:
        path = Path(folder, fields[column].strip())
        if not path.is_file():
            raise FileNotFoundError(f"{place}, column {column!r}: there is no file {path}")
        return str(path)

    def gain(column: str) -> float:
        try:
            value = float(fields[column])
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise ValueError(f"{place}, column {column!r}: {fields[column]!r} is no gain above 0")
        return value

    sources = tuple(locate(f"source_{i}_path", speech_folder) for i in (1, 2))
    speakers = [Path(source).stem.partition("-")[0] for source in sources]
    if len(set(speakers)) < 2:
        raise ValueError(f"{place}: both sources are of speaker {speakers[0]}")
    noisy = noise_folder is not None
    return MixtureRow(
        fields["mixture_ID"].strip(),
        sources,
        (gain("source_1_gain"), gain("source_2_gain")),
        locate("noise_path", noise_folder) if noisy else "",
        gain("noise_gain") if noisy else 0.0,
        spk_id="_".join(speakers),
    )
