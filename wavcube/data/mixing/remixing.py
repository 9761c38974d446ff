"""New mixtures in every epoch, from the speakers and gains of a list of mixtures.

Dynamic mixing, as SpeechBrain's separation recipes and Zeghidour and Grangier, "Wavesplit" (arXiv
2002.08933) do it: few recordings make as many mixtures as training has time for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torchaudio
from torch import Tensor
from torch.utils.data import Dataset

from wavcube.data.mixing.mixtures import MixtureRow
from wavcube.data.mixing.noisy import read_piece

__all__ = ["RemixedDataset"]

Seconds = float

# apart from the draws of crops and of noise
_STREAM = 3


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
        rng = np.random.default_rng((self.seed, int(self._epoch), index, _STREAM))
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
