"""Manifests of pairs: a noisy recording and its clean one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from wavcube.data.audio import read_audio
from wavcube.data.crops import CropDataset, gain_to
from wavcube.data.manifest import (
    Utterance,
    check_unique,
    hold_out_speakers,
    hold_out_utterances,
    parse_duration,
    parse_path,
    relative_path,
    write_rows,
)
from wavcube.data.prepare import (
    BadFile,
    Made,
    check_files,
    prepare_once,
    require_equal_length,
    split_in_three,
)
from wavcube.data.texts import read_rows

__all__ = [
    "NoisyPair",
    "PairCrops",
    "PairDataset",
    "pair_up",
    "prepare_own_pairs",
    "read_pairs",
    "write_pairs",
]

_COLUMNS = {
    "ID": "ID",
    "duration": "duration",
    "noisy": "wav",
    "clean": "clean",
    "spk_id": "spk_id",
}


@dataclass(frozen=True)
class NoisyPair(Utterance):
    """A noisy recording, `wav`, and what it is without the noise.

    Attributes
    ----------
    clean : str
        Path of the clean recording, of the same rate and length.
    """

    clean: str = ""


def pair_up(noisy: Sequence[Utterance], clean: Sequence[Utterance]) -> list[NoisyPair]:
    """Make pairs of two manifests whose rows are partners.

    Parameters
    ----------
    noisy, clean : Sequence[Utterance]
        With the same IDs, in the same order.

    Raises
    ------
    ValueError
        When they are not.

    Examples
    --------
    >>> pair_up([Utterance("a", 1.0, "n.wav", "sue")], [Utterance("a", 1.0, "c.wav")])[0].clean
    'c.wav'
    """
    if [row.ID for row in noisy] != [row.ID for row in clean]:
        raise ValueError("the manifests of noisy and clean speech list different utterances")
    return [
        NoisyPair(row.ID, row.duration, row.wav, row.spk_id, row.wrd, partner.wav)
        for row, partner in zip(noisy, clean, strict=True)
    ]


def read_pairs(path: str | Path, data_root: str | Path | None = None) -> list[NoisyPair]:
    """Read a CSV of pairs, one of ours or a user's own.

    The columns "noisy" and "clean" are required: paths, relative to `data_root`, or without one to
    the CSV file's folder. "ID" is the noisy file's name unless given, "duration" is 0 and "spk_id"
    empty; other columns are passed over.

    Parameters
    ----------
    path : str | Path
        CSV file, UTF-8.
    data_root : str | Path | None
        Stands for `$data_root`.

    Raises
    ------
    FileNotFoundError
        When there is no such file, or one that it names; with row and column.
    ValueError
        For anything else wrong in it, with row and column.
    """
    path = Path(path)
    root = Path(data_root) if data_root is not None else None
    pairs = []
    for place, row in read_rows(path, ["noisy", "clean"]):
        found = {}
        for column in ("noisy", "clean"):
            found[column] = parse_path(row, column, place, path.parent, root)
            if not found[column].is_file():
                raise FileNotFoundError(
                    f"{place}, column {column!r}: there is no file {found[column]}"
                )
        name = row.get("ID", found["noisy"].stem).strip()
        duration = parse_duration(row["duration"], place) if "duration" in row else 0.0
        speaker, clean = row.get("spk_id", ""), str(found["clean"])
        pairs.append(NoisyPair(name, duration, str(found["noisy"]), speaker, clean=clean))
    check_unique(pairs, f"{path}, ")
    return pairs


def write_pairs(
    path: str | Path, pairs: Sequence[NoisyPair], data_root: str | Path | None = None
) -> None:
    """Write a CSV that `read_pairs` reads.

    Parameters
    ----------
    path : str | Path
        Of the CSV file, which appears only when complete.
    pairs : Sequence[NoisyPair]
        The rows.
    data_root : str | Path | None
        Paths within this folder are written relative to it, after `$data_root`.

    Raises
    ------
    ValueError
        When two rows have the same ID or there is no row.
    """
    rows = [
        replace(
            pair,
            wav=relative_path(pair.wav, data_root),
            clean=relative_path(pair.clean, data_root),
        )
        for pair in pairs
    ]
    write_rows(path, rows, _COLUMNS)


def prepare_own_pairs(
    source: str | Path,
    out_folder: str | Path,
    *,
    valid_fraction: float = 0.1,
    test_fraction: float = 0.1,
    seed: int = 1234,
    max_bad_fraction: float = 0.01,
    progress: bool = True,
) -> dict[str, Path]:
    """Prepare a user's own pairs, listed in a CSV file (see `read_pairs`).

    Where every row has a speaker and there are three or more, whole speakers are held out for
    validation and test; else utterances, drawn at random.

    Parameters
    ----------
    source : str | Path
        The CSV file.
    out_folder : str | Path
        For `train.csv`, `valid.csv`, `test.csv`; and `bad_files.csv` when pairs were left out.
    valid_fraction, test_fraction : float
        Shares of the speakers or utterances, at least one each.
    seed : int
        Draws them.
    max_bad_fraction : float
        How many files may be bad before the run stops.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    dict[str, Path]
        Manifest of "train", "valid" and "test", for `read_pairs`.

    Raises
    ------
    FileNotFoundError
        When the CSV file, or one that it names, is missing.
    ValueError
        When partners differ in rate or length, there are fewer than three pairs, or too many bad
        files.
    """
    source = Path(source)
    pairs = read_pairs(source, source.parent)
    arguments = {
        "source": str(source.resolve()),
        "valid_fraction": valid_fraction,
        "test_fraction": test_fraction,
        "seed": seed,
        "max_bad_fraction": max_bad_fraction,
    }

    def make() -> Made:
        good, bad = _check(pairs, max_bad_fraction, progress)
        if len(good) < 3:
            raise ValueError(
                f"{source} has {len(good)} pairs; training, validation and test need one each at "
                "the least"
            )
        speakers = {pair.spk_id for pair in good}
        by_speaker = "" not in speakers and len(speakers) >= 3
        hold_out = _hold_out_speakers if by_speaker else hold_out_utterances
        return split_in_three(good, hold_out, valid_fraction, test_fraction, seed), bad

    files = [source, *(Path(wav) for pair in pairs for wav in (pair.wav, pair.clean))]
    places: dict[str, Any] = {"data_root": source.parent, "write": write_pairs}
    return prepare_once(out_folder, arguments, files, make, **places)


def _check(
    pairs: Sequence[NoisyPair], max_bad_fraction: float, progress: bool
) -> tuple[list[NoisyPair], list[BadFile]]:
    """Keep the pairs of two good files, with their durations; partners must be equally long."""
    both = [Utterance(p.ID, 0.0, wav) for p in pairs for wav in (p.wav, p.clean)]
    scan = check_files(both, max_bad_fraction=max_bad_fraction, progress=progress)
    durations = {row.wav: row.duration for row in scan.utterances}
    good = []
    for pair in pairs:
        if pair.wav not in durations or pair.clean not in durations:
            continue
        require_equal_length(pair.wav, pair.clean)
        good.append(replace(pair, duration=durations[pair.wav]))
    return good, scan.bad


def _hold_out_speakers(
    pairs: Sequence[NoisyPair], fraction: float, seed: int
) -> tuple[list[NoisyPair], list[NoisyPair]]:
    speakers = {pair.spk_id for pair in pairs}
    return hold_out_speakers(pairs, max(1, round(fraction * len(speakers))), seed)


class PairCrops(CropDataset):
    """Crops of pairs, the same piece of both recordings; see `CropDataset`.

    The gain that is drawn brings the noisy recording's peak to its level, and the clean one has
    the same gain.

    Parameters
    ----------
    pairs : Sequence[NoisyPair]
        With durations.
    crop_seconds, crops_per_epoch, sample_rate, seed, peak_db
        As in `CropDataset`.

    Examples
    --------
    >>> import torch
    >>> from wavcube.data.audio import write_audio
    >>> folder = getfixture("tmp_path")
    >>> for name in ("noisy", "clean"):
    ...     write_audio(folder / f"{name}.wav", 0.1 * torch.randn(1600), 8000)
    >>> pair = NoisyPair("a", 0.2, str(folder / "noisy.wav"), clean=str(folder / "clean.wav"))
    >>> crops = PairCrops([pair], crop_seconds=0.1, crops_per_epoch=4, sample_rate=8000, seed=1)
    >>> crops[0]["wav"].shape, crops[0]["clean"].shape
    (torch.Size([800]), torch.Size([800]))
    """

    def __init__(
        self,
        pairs: Sequence[NoisyPair],
        *,
        crop_seconds: float,
        crops_per_epoch: int,
        sample_rate: int,
        seed: int,
        peak_db: tuple[float, float] = (-6.0, -1.0),
    ) -> None:
        super().__init__(
            [pair.as_dict() for pair in pairs],
            crop_seconds=crop_seconds,
            crops_per_epoch=crops_per_epoch,
            sample_rate=sample_rate,
            seed=seed,
            peak_db=peak_db,
        )
        self._clean = [pair.clean for pair in pairs]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return crop `index` of this epoch: "id", "wav" (noisy) and "clean", both `[n]`."""
        which, position, gain_db = self.draw(index)
        noisy = self.read(self._paths[which], position)
        gain = gain_to(noisy, gain_db)
        clean = self.read(self._clean[which], position)
        return {"id": self._ids[which], "wav": noisy * gain, "clean": clean * gain}


class PairDataset(Dataset):
    """Whole pairs, for validation and evaluation.

    Parameters
    ----------
    pairs : Sequence[NoisyPair]
        The pairs.
    sample_rate : int
        Of the waveforms, in Hz.

    Raises
    ------
    ValueError
        When there is no pair; while reading, when partners differ in length.
    """

    def __init__(self, pairs: Sequence[NoisyPair], sample_rate: int) -> None:
        if not pairs:
            raise ValueError("there is no pair to make a dataset of")
        self.pairs, self.sample_rate = list(pairs), sample_rate

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return "id", "wav" (noisy), "clean", both `[T]`, and "spk_id"."""
        pair = self.pairs[index]
        noisy, clean = (read_audio(wav, self.sample_rate) for wav in (pair.wav, pair.clean))
        if len(noisy) != len(clean):
            raise ValueError(
                f"{pair.wav} has {len(noisy)} samples at {self.sample_rate} Hz, its partner "
                f"{pair.clean} {len(clean)}; partners must be equally long"
            )
        return {"id": pair.ID, "wav": noisy, "clean": clean, "spk_id": pair.spk_id}
