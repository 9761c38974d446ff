"""Clean speech and noise to pairs of noisy and clean speech, drawn anew in every epoch.

A pair depends on the seed, the epoch and its index alone, as a crop does (`wavcube.data.crops`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from wavcube.data.audio import read_audio
from wavcube.data.crops import CropDataset, SpeechDataset
from wavcube.data.manifest import Utterance, hold_out_utterances
from wavcube.data.mixing.signals import loop_with_fades, mix_at_snr, reverberate
from wavcube.data.prepare import scan_audio_folder
from wavcube.data.resampling import resample
from wavcube.data.sound_file import SoundFile

__all__ = [
    "NoisyDataset",
    "read_noise",
    "read_piece",
    "share_out_noises",
]

# apart from CropDataset's draws, which have three numbers
_STREAM = 1
_FADE_SECONDS = 0.1


class NoisyDataset(Dataset):
    """Speech with noise of a folder at a drawn ratio, in some items in a drawn room.

    The noise is a piece of a file drawn with a probability proportional to its duration, from a
    position drawn uniformly; a file that is too short is repeated with crossfades. Room first,
    noise after: the ratio is that of reverberated speech to noise, and the clean speech of such an
    item is the early sound (`wavcube.data.mixing.signals.reverberate`). Levels and the limit of the
    peak are those of `wavcube.data.mixing.signals.mix_at_snr`.

    Parameters
    ----------
    speech : SpeechDataset
        `CropDataset` for training, `wavcube.data.crops.utterance_dataset` for validation
        (where no epoch is ever set, so that every validation hears the same noise).
    noises : Sequence[Utterance]
        With durations.
    sample_rate : int
        Of speech and result, in Hz.
    seed : int
        Draws noises, positions, ratios and rooms.
    snr_db : tuple[float, float]
        Range of the ratio, uniform in dB.
    rooms : Sequence[Utterance]
        Files of room impulse responses.
    room_probability : float
        Of an item to be in a room.
    early_seconds : float
        What arrives so soon after the direct path belongs to the clean speech.

    Raises
    ------
    ValueError
        If there is no noise, a number is out of range or there are rooms to draw but none given.

    Examples
    --------
    >>> from wavcube.data.audio import write_audio
    >>> folder = getfixture("tmp_path")
    >>> for name in ("speech", "noise"):
    ...     write_audio(folder / f"{name}.wav", 0.1 * torch.randn(800), 8000)
    >>> rows = {name: Utterance(name, 0.1, str(folder / f"{name}.wav")) for name in ("speech",
    ...     "noise")}
    >>> from wavcube.data.crops import utterance_dataset
    >>> speech = utterance_dataset([rows["speech"]], 8000)
    >>> item = NoisyDataset(speech, [rows["noise"]], sample_rate=8000, seed=1)[0]
    >>> item["wav"].shape, item["clean"].shape
    (torch.Size([800]), torch.Size([800]))
    """

    def __init__(
        self,
        speech: SpeechDataset,
        noises: Sequence[Utterance],
        *,
        sample_rate: int,
        seed: int,
        snr_db: tuple[float, float] = (0.0, 15.0),
        rooms: Sequence[Utterance] = (),
        room_probability: float = 0.0,
        early_seconds: float = 0.05,
    ) -> None:
        if not noises:
            raise ValueError("there is no noise to mix with")
        if not snr_db[0] <= snr_db[1]:
            raise ValueError(f"snr_db must be a range, low to high, not {snr_db}")
        if not 0 <= room_probability <= 1:
            raise ValueError(f"room_probability must be within 0 and 1, not {room_probability}")
        if room_probability and not rooms:
            raise ValueError(f"room_probability is {room_probability}, but no rooms are given")
        silent = [row.ID for row in noises if not row.duration > 0]
        if silent:
            raise ValueError(f"noise {silent[0]!r} has no duration above 0 s")
        self.speech, self.noises, self.rooms = speech, list(noises), list(rooms)
        self.sample_rate, self.seed = sample_rate, seed
        self.snr_db, self.room_probability = snr_db, room_probability
        self.early_seconds = early_seconds
        durations = np.array([row.duration for row in noises])
        self._ends = np.cumsum(durations) / durations.sum()
        # in shared memory, so that workers which outlive an epoch see it change
        self._epoch = torch.zeros((), dtype=torch.long).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, of the crops too; call it before the loader is iterated."""
        self._epoch.fill_(epoch)
        if isinstance(self.speech, CropDataset):
            self.speech.set_epoch(epoch)

    def __len__(self) -> int:
        """Return the items in an epoch."""
        return len(self.speech)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return the speech's item with "wav" (noisy) and "clean", both `[T]`, and "snr_db"."""
        item = self.speech[index]
        heard = clean = item["wav"]
        rng = np.random.default_rng((self.seed, int(self._epoch), index, _STREAM))
        # every number is drawn whether it is needed or not: no setting changes another's draws
        which, position, ratio, chance, room = rng.random(5)
        # a plain number: batches cannot pad one of NumPy's
        ratio_db = float(self.snr_db[0] + (self.snr_db[1] - self.snr_db[0]) * ratio)
        if chance < self.room_probability:
            path = self.rooms[int(room * len(self.rooms))].wav
            response = read_audio(path, self.sample_rate)
            heard, clean = reverberate(clean, response, self.sample_rate, self.early_seconds)
        chosen = min(int(np.searchsorted(self._ends, which, side="right")), len(self.noises) - 1)
        noise = read_piece(self.noises[chosen].wav, position, len(clean), self.sample_rate)
        noisy, scaled, _ = mix_at_snr(heard, noise, ratio_db)
        return {**item, "wav": noisy, "clean": _follow(clean, heard, scaled), "snr_db": ratio_db}


def read_piece(
    path: str, position: float, length: int, sample_rate: int, *, first_channel: bool = False
) -> Tensor:
    """Read a piece of a file without decoding the rest; a short file is repeated.

    Parameters
    ----------
    path : str
        An audio file.
    position : float
        From 0 to 1, among the possible offsets.
    length : int
        Samples wanted.
    sample_rate : int
        Of the piece, in Hz.
    first_channel : bool
        Take it alone; by default several channels are averaged.

    Returns
    -------
    Tensor
        `[length]`, mono.

    Raises
    ------
    ValueError
        If the file holds no samples, or samples that are NaN or infinite.
    """
    with SoundFile(path) as file:
        rate = file.samplerate
        frames = -(-length * rate // sample_rate)
        spare = max(0, file.frames - frames)
        samples = file.read_from(min(spare, int(position * (spare + 1))), frames)
    wav = samples[:, 0] if first_channel else samples.mean(dim=1)
    wav = _checked_at_rate(path, wav, rate, sample_rate)
    return loop_with_fades(wav, length, round(_FADE_SECONDS * sample_rate))


def read_noise(path: str, sample_rate: int, length: int | None = None) -> Tensor:
    """Read the first channel of a file's beginning, as LibriMix does: WHAM has two.

    Parameters
    ----------
    path : str
        An audio file.
    sample_rate : int
        Of the noise, in Hz.
    length : int, optional
        Samples wanted; there are fewer where the file is shorter. By default the whole file.

    Returns
    -------
    Tensor
        `[T]`.

    Raises
    ------
    ValueError
        If the file holds no samples, or samples that are NaN or infinite.
    """
    with SoundFile(path) as file:
        rate = file.samplerate
        frames = file.frames if length is None else -(-length * rate // sample_rate)
        wav = file.read_from(0, frames)[:, 0]
    return _checked_at_rate(path, wav, rate, sample_rate)


def _checked_at_rate(path: str, wav: Tensor, rate: int, sample_rate: int) -> Tensor:
    """Refuse what holds no sound, and resample what does."""
    if not len(wav) or not wav.isfinite().all():
        raise ValueError(f"{path}: no samples, or samples that are NaN or infinite")
    return resample(wav, rate, sample_rate)


def _follow(clean: Tensor, heard: Tensor, scaled: Tensor) -> Tensor:
    """Turn the target down by the factor that the mixing gave to what was heard."""
    loudest = int(heard.abs().argmax())
    if heard[loudest] == 0:
        return clean
    return clean * (scaled[loudest] / heard[loudest])


ROLES = ("train", "valid", "test")
_HELD_BACK = 0.1


def share_out_noises(
    folder: str | Path, seed: int = 1234, max_bad_fraction: float = 0.01
) -> dict[str, list[Utterance]]:
    """Give each role files of its own, so that no noise of a test is known from training.

    Where the folder has subfolders named train, valid and test, these are the roles' own; else a
    tenth of the files, drawn at random and at least one, goes to validation, and as many to test.

    Parameters
    ----------
    folder : str | Path
        Searched with its subfolders.
    seed : int
        Of the draw.
    max_bad_fraction : float
        How many files may be bad before the run stops.

    Returns
    -------
    dict[str, list[Utterance]]
        Rows of "train", "valid" and "test", with durations.

    Raises
    ------
    FileNotFoundError
        When there is no such folder, or not all three of those subfolders.
    ValueError
        When it holds fewer than three files, no audio, or too many bad files.

    Examples
    --------
    >>> import torch
    >>> from wavcube.data.audio import write_audio
    >>> folder = getfixture("tmp_path")
    >>> for name in "abc":
    ...     write_audio(folder / f"{name}.wav", 0.1 * torch.randn(800), 8000)
    >>> {role: len(rows) for role, rows in share_out_noises(folder).items()}
    {'train': 1, 'valid': 1, 'test': 1}
    """
    folder = Path(folder)
    own = {role: (folder / role).is_dir() for role in ROLES}
    if any(own.values()):
        missing = [role for role in ROLES if not own[role]]
        if missing:
            raise FileNotFoundError(
                f"{folder} has folders for {', '.join(r for r in ROLES if own[r])}, but none for "
                f"{', '.join(missing)}"
            )
        return {
            role: scan_audio_folder(folder / role, max_bad_fraction=max_bad_fraction).utterances
            for role in ROLES
        }
    rows = scan_audio_folder(folder, max_bad_fraction=max_bad_fraction).utterances
    if len(rows) < len(ROLES):
        raise ValueError(
            f"{folder} has {len(rows)} files: training, validation and test need one each at the "
            "least, since a test on known noise says little"
        )
    rest, test = hold_out_utterances(rows, _HELD_BACK, seed)
    train, valid = hold_out_utterances(rest, _HELD_BACK, seed + 1)
    return {"train": train, "valid": valid, "test": test}
