"""Mixtures of speakers made from a list of files and gains while they are read.

The manifest's columns are those of LibriMix's metadata (Cosentino et al., arXiv 2005.11262), with
the mixture's duration, its speakers and, where it exists already, its own file.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torchaudio
from torch import Tensor
from torch.utils.data import Dataset

from wavcube.data.audio import read_audio
from wavcube.data.mixing.noisy import read_noise, read_piece
from wavcube.data.mixing.signals import fit_lengths, loop_with_fades
from wavcube.data.texts import iterate_rows
from wavcube.utils.files import write_atomically

__all__ = [
    "MixtureDataset",
    "MixtureRow",
    "RemixedDataset",
    "read_mixtures",
    "write_mixtures",
]

Seconds = float

_ROOT = "$data_root"
# apart from the draws of crops and of noise
_STREAM = 2
# LibriMix's crossfade of noise that is too short
_FADE: Seconds = 0.5


@dataclass(frozen=True)
class MixtureRow:
    """One mixture.

    Attributes
    ----------
    ID : str
        Unique name.
    sources : tuple[str, ...]
        Audio file of each speaker.
    gains : tuple[float, ...]
        Factor of each.
    noise : str
        Audio file of the noise; empty without one.
    noise_gain : float
        Its factor.
    mixture : str
        Audio file of the mixture itself; empty when it is to be made.
    duration : float
        In seconds.
    spk_id : str
        Speakers in the order of the sources, joined by "_".
    """

    ID: str
    sources: tuple[str, ...]
    gains: tuple[float, ...]
    noise: str = ""
    noise_gain: float = 0.0
    mixture: str = ""
    duration: float = 0.0
    spk_id: str = ""


class MixtureDataset(Dataset):
    """Mixtures and their sources, whole or a crop that is drawn anew in every epoch.

    Every file is read, brought to the rate and multiplied by its gain; the sources are fitted to
    one length and added. Noise is taken from its beginning and its first channel, as LibriMix does,
    and repeated with crossfades where it is too short. Nothing is clipped: LibriMix's gains keep
    the longest mixture's peak at 0.9. A mixture with a file of its own is that file.

    Parameters
    ----------
    rows : Sequence[MixtureRow]
        All with the same number of sources.
    sample_rate : int
        Of the waveforms, in Hz.
    mode : {"min", "max"}
        A mixture ends with its shortest or with its longest source.
    noisy : bool
        Add the noise.
    crop_seconds : float, optional
        Longest piece; by default mixtures are whole.
    seed : int
        Draws crops, with the epoch and the index.

    Raises
    ------
    ValueError
        If there is no mixture, the number of sources varies, a number is out of range or noise is
        asked for where there is none.

    Examples
    --------
    >>> from wavcube.data.audio import write_audio
    >>> folder = getfixture("tmp_path")
    >>> for name, size in (("a", 800), ("b", 500)):
    ...     write_audio(folder / f"{name}.wav", torch.full((size,), 0.25), 8000)
    >>> row = MixtureRow("a_b", (str(folder / "a.wav"), str(folder / "b.wav")), (1.0, 2.0))
    >>> item = MixtureDataset([row], 8000, "min")[0]
    >>> item["wav"].shape, item["sources"].shape, item["wav"][0].item()
    (torch.Size([500]), torch.Size([500, 2]), 0.75)
    """

    def __init__(
        self,
        rows: Sequence[MixtureRow],
        sample_rate: int,
        mode: Literal["min", "max"],
        *,
        noisy: bool = False,
        crop_seconds: Seconds | None = None,
        seed: int = 0,
    ) -> None:
        if not rows:
            raise ValueError("there is no mixture to make a dataset of")
        if mode not in ("min", "max"):
            raise ValueError(f"the mode must be 'min' or 'max', not {mode!r}")
        if crop_seconds is not None and crop_seconds <= 0:
            raise ValueError(f"crop_seconds must be positive, not {crop_seconds}")
        for row in rows:
            if not len(row.sources) == len(row.gains) == len(rows[0].sources) > 0:
                raise ValueError(
                    f"mixture {row.ID!r} has {len(row.sources)} sources and {len(row.gains)} "
                    f"gains; the first has {len(rows[0].sources)}"
                )
            if noisy and not row.noise and not row.mixture:
                raise ValueError(f"mixture {row.ID!r} is to be noisy, but names no noise")
        self.rows, self.sample_rate, self.mode, self.noisy = list(rows), sample_rate, mode, noisy
        self.crop = None if crop_seconds is None else round(crop_seconds * sample_rate)
        self.seed = seed
        # in shared memory, so that workers which outlive an epoch see it change
        self._epoch = torch.zeros((), dtype=torch.long).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; call it before the loader is iterated."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        """Return the number of mixtures."""
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return mixture `index`: "id", "wav" `[T]` and "sources" `[T, S]`, float32."""
        row = self.rows[index]
        wavs = [read_audio(path, self.sample_rate) for path in row.sources]
        scaled = [wav * gain for wav, gain in zip(wavs, row.gains, strict=True)]
        sources = torch.stack(fit_lengths(scaled, self.mode), dim=1)
        wav = self._mixture(row, sources, max(len(source) for source in scaled))
        start, end = self._span(index, len(wav))
        return {"id": row.ID, "wav": wav[start:end], "sources": sources[start:end]}

    def _mixture(self, row: MixtureRow, sources: Tensor, longest: int) -> Tensor:
        if row.mixture:
            wav = read_audio(row.mixture, self.sample_rate)
            if len(wav) != len(sources):
                raise ValueError(
                    f"{row.mixture} has {len(wav)} samples at {self.sample_rate} Hz, its sources "
                    f"{len(sources)} in mode {self.mode!r}"
                )
            return wav
        wav = sources.sum(dim=1)
        if self.noisy:
            fade = round(_FADE * self.sample_rate) + 1
            noise = loop_with_fades(read_noise(row.noise, self.sample_rate, longest), longest, fade)
            wav = wav + row.noise_gain * noise[: len(wav)]
        return wav

    def _span(self, index: int, size: int) -> tuple[int, int]:
        if self.crop is None or size <= self.crop:
            return 0, size
        rng = np.random.default_rng((self.seed, int(self._epoch), index, _STREAM))
        start = int(rng.integers(size - self.crop + 1))
        return start, start + self.crop


def write_mixtures(
    path: str | Path, rows: Sequence[MixtureRow], data_root: str | Path | None = None
) -> None:
    """Write a manifest of mixtures, which appears only when complete.

    Parameters
    ----------
    path : str | Path
        Of the CSV file.
    rows : Sequence[MixtureRow]
        All with the same number of sources.
    data_root : str | Path | None
        Paths within this folder are written relative to it, after `$data_root`.

    Raises
    ------
    ValueError
        If there is no row or two have the same ID.
    """
    twice = [name for name, count in Counter(row.ID for row in rows).items() if count > 1]
    if twice or not rows:
        raise ValueError(f"{path} needs mixtures of different IDs, not {twice or 'none at all'}")
    table = [_as_columns(row, data_root) for row in rows]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    write_atomically(path, text.getvalue().encode(), overwrite=True)


def read_mixtures(path: str | Path, data_root: str | Path | None = None) -> list[MixtureRow]:
    """Read what `write_mixtures` has written.

    Parameters
    ----------
    path : str | Path
        CSV file.
    data_root : str | Path | None
        Stands for `$data_root`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If its paths start with `$data_root`, which is not given.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "train.csv"
    >>> rows = [MixtureRow("a_b", ("/d/a.wav", "/d/b.wav"), (0.5, 1.0), duration=2.0)]
    >>> write_mixtures(path, rows, "/d")
    >>> read_mixtures(path, "/d") == rows
    True
    """
    return [_from_columns(fields, data_root) for _, fields in iterate_rows(path)]


def _as_columns(row: MixtureRow, root: str | Path | None) -> dict[str, Any]:
    def relative(wav: str) -> str:
        if root is None or not wav or not Path(wav).is_relative_to(root):
            return wav
        return f"{_ROOT}/{Path(wav).relative_to(root).as_posix()}"

    sources = {
        name: value
        for place, (wav, gain) in enumerate(zip(row.sources, row.gains, strict=True), start=1)
        for name, value in (
            (f"source_{place}_path", relative(wav)),
            (f"source_{place}_gain", repr(gain)),
        )
    }
    return {
        "mixture_ID": row.ID,
        **sources,
        "noise_path": relative(row.noise),
        "noise_gain": repr(row.noise_gain),
        "mixture_path": relative(row.mixture),
        "duration": round(row.duration, 6),
        "spk_id": row.spk_id,
    }


def _from_columns(fields: Mapping[str, str], root: str | Path | None) -> MixtureRow:
    def absolute(wav: str) -> str:
        if not wav.startswith(_ROOT):
            return wav
        if root is None:
            raise ValueError(f"{wav!r} is relative to {_ROOT}, which was not given")
        return str(Path(root, wav.removeprefix(_ROOT).lstrip("/")))

    count = sum(name.startswith("source_") and name.endswith("_path") for name in fields)
    places = range(1, count + 1)
    return MixtureRow(
        fields["mixture_ID"],
        tuple(absolute(fields[f"source_{place}_path"]) for place in places),
        tuple(float(fields[f"source_{place}_gain"]) for place in places),
        absolute(fields["noise_path"]),
        float(fields["noise_gain"]),
        absolute(fields["mixture_path"]),
        float(fields["duration"]),
        fields["spk_id"],
    )


# apart from the draws of crops and of noise
_REMIX_STREAM = 3


class Voice(NamedTuple):
    """One source of one mixture: its file, its gain in that mixture, and who speaks."""

    path: str
    gain: float
    speaker: str


class RemixedDataset(Dataset):
    """A virtual epoch of crops of mixtures that nobody has mixed before.

    A crop takes a source of any mixture and others of different speakers, each from a place of its
    own, and adds them with the gains that they have in their mixtures, which bring them to drawn
    levels already. A source shorter than a crop is repeated.

    Parameters
    ----------
    rows : Sequence[MixtureRow]
        With speakers, and the same number of sources each.
    sample_rate : int
        Of the waveforms, in Hz.
    crop_seconds : float
        Length of a crop.
    crops_per_epoch : int
        Length of the dataset.
    seed : int
        Draws everything, with the epoch and the index.
    noisy : bool
        Add the noise of a drawn row.
    gain_db : float
        Every source is turned up or down by as much more, drawn uniformly.
    speed : float
        Every source is played up to so much faster or slower, 0.1 for a tenth, in steps of a
        hundredth: pitch and voice change with it, as if there were more speakers.

    Raises
    ------
    ValueError
        If there is no mixture or there are too few speakers, a row does not name the speaker of
        each source or the noise that is asked for, or a number is out of range.

    Examples
    --------
    >>> from wavcube.data.audio import write_audio
    >>> folder = getfixture("tmp_path")
    >>> for name in "ab":
    ...     write_audio(folder / f"{name}.wav", torch.full((8000,), 0.25), 8000)
    >>> paths = str(folder / "a.wav"), str(folder / "b.wav")
    >>> rows = [MixtureRow("a_b", paths, (1.0, 2.0), spk_id="a_b")]
    >>> data = RemixedDataset(rows, 8000, crop_seconds=0.5, crops_per_epoch=3, seed=0)
    >>> item = data[2]
    >>> item["wav"].shape, item["sources"].shape, item["wav"][0].item()
    (torch.Size([4000]), torch.Size([4000, 2]), 0.75)
    """

    def __init__(
        self,
        rows: Sequence[MixtureRow],
        sample_rate: int,
        *,
        crop_seconds: Seconds,
        crops_per_epoch: int,
        seed: int,
        noisy: bool = False,
        gain_db: float = 0.0,
        speed: float = 0.0,
    ) -> None:
        if crop_seconds <= 0 or crops_per_epoch < 1:
            raise ValueError(
                "crop_seconds and crops_per_epoch must be positive, "
                f"not {crop_seconds} and {crops_per_epoch}"
            )
        if gain_db < 0 or not 0 <= speed < 1:
            raise ValueError(f"gain_db {gain_db} must be at least 0, and speed {speed} in [0, 1)")
        self.voices = [voice for row in rows for voice in _voices_of(row)]
        self.noises = [(row.noise, row.noise_gain) for row in rows if noisy and row.noise]
        if noisy and len(self.noises) < len(rows):
            raise ValueError(
                "new noisy mixtures need the noise of every mixture: give noise files, or take the "
                "mixtures as they are (remix False)"
            )
        speakers = {voice.speaker for voice in self.voices}
        self.num_sources = len(rows[0].sources) if rows else 2
        if len(speakers) < self.num_sources:
            raise ValueError(
                f"mixtures of {self.num_sources} speakers need as many, there are {len(speakers)}"
            )
        self.sample_rate, self.crops_per_epoch, self.seed = sample_rate, crops_per_epoch, seed
        self.crop, self.gain_db, self.speed = round(crop_seconds * sample_rate), gain_db, speed
        # in shared memory, so that workers which outlive an epoch see it change
        self._epoch = torch.zeros((), dtype=torch.long).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; call it before the loader is iterated."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        """Return the crops in an epoch."""
        return self.crops_per_epoch

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return crop `index`: "id", "wav" `[T]` and "sources" `[T, S]`, float32."""
        if not 0 <= index < self.crops_per_epoch:
            raise IndexError(f"crop {index} is not within 0..{self.crops_per_epoch - 1}")
        rng = np.random.default_rng((self.seed, int(self._epoch), index, _REMIX_STREAM))
        chosen = self._draw_voices(rng)
        sources = torch.stack([self._piece(voice, rng) for voice in chosen], dim=1)
        wav = sources.sum(dim=1)
        if self.noises:
            path, gain = self.noises[int(rng.integers(len(self.noises)))]
            place = rng.random()
            # LibriMix's gains are of WHAM's first channel
            noise = read_piece(path, place, self.crop, self.sample_rate, first_channel=True)
            wav = wav + gain * noise
        return {"id": f"{int(self._epoch)}-{index}", "wav": wav, "sources": sources}

    def _draw_voices(self, rng: np.random.Generator) -> list[Voice]:
        chosen: list[Voice] = []
        while len(chosen) < self.num_sources:
            voice = self.voices[int(rng.integers(len(self.voices)))]
            if voice.speaker not in {other.speaker for other in chosen}:
                chosen.append(voice)
        return chosen

    def _piece(self, voice: Voice, rng: np.random.Generator) -> Tensor:
        gain = voice.gain * 10 ** (rng.uniform(-self.gain_db, self.gain_db) / 20)
        steps = round(100 * self.speed)
        percent = 100 + int(rng.integers(-steps, steps + 1))
        length = -(-self.crop * percent // 100)
        wav = read_piece(voice.path, rng.random(), length, self.sample_rate)
        if percent != 100:
            wav = torchaudio.functional.resample(wav, percent, 100)
        return gain * wav[: self.crop]


def _voices_of(row: MixtureRow) -> list[Voice]:
    speakers = row.spk_id.split("_")
    if len(speakers) != len(row.sources) or not all(speakers):
        raise ValueError(
            f"mixture {row.ID!r} does not name the speakers of its {len(row.sources)} sources "
            f"({row.spk_id!r}), so that no new ones can be mixed: take it as it is (remix False)"
        )
    return [Voice(*found) for found in zip(row.sources, row.gains, speakers, strict=True)]
