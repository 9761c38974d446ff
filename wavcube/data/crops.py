"""Random crops of long utterances, for training on pieces of equal length.

A crop depends on the seed, the epoch and its index alone, so that neither the number of workers
nor an interruption changes what a model is trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.dataio.dataset import DynamicItemDataset
from torch import Tensor
from torch.utils.data import Dataset

from wavcube.data.audio import read_audio
from wavcube.data.manifest import Utterance
from wavcube.data.resampling import resample
from wavcube.data.sound_file import SoundFile

__all__ = [
    "CropDataset",
    "Crops",
    "SpeechDataset",
    "gain_to",
    "utterance_dataset",
]


class Crops(Dataset):
    """What datasets of crops share: sizes, the epoch and collation.

    Parameters
    ----------
    crop_seconds, crops_per_epoch, sample_rate, seed, peak_db
        See :class:`CropDataset`.

    Raises
    ------
    ValueError
        When a number is out of range.
    """

    def __init__(
        self,
        *,
        crop_seconds: float,
        crops_per_epoch: int,
        sample_rate: int,
        seed: int,
        peak_db: tuple[float, float] = (-6.0, -1.0),
    ) -> None:
        if crop_seconds <= 0 or crops_per_epoch < 1:
            raise ValueError(
                "crop_seconds and crops_per_epoch must be positive, "
                f"not {crop_seconds} and {crops_per_epoch}"
            )
        if not peak_db[0] <= peak_db[1] <= 0:
            raise ValueError(f"peak_db must be a range below 0 dB, low to high, not {peak_db}")
        self.crop_samples = round(crop_seconds * sample_rate)
        self.crops_per_epoch = crops_per_epoch
        self.sample_rate = sample_rate
        self.seed = seed
        self.peak_db = peak_db
        # In shared memory, so that workers which outlive an epoch see it change.
        self._epoch = torch.zeros((), dtype=torch.long).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; call it before the loader is iterated (`Brain.on_stage_start`)."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        """Return the crops in an epoch."""
        return self.crops_per_epoch

    def generator(self, index: int) -> np.random.Generator:
        """Give the source of crop `index` of this epoch; an IndexError past the epoch's end."""
        if not 0 <= index < self.crops_per_epoch:
            raise IndexError(f"crop {index} is not within 0..{self.crops_per_epoch - 1}")
        return np.random.default_rng((self.seed, int(self._epoch), index))

    def collate(self, examples: Sequence[Mapping[str, Any]]) -> PaddedBatch:
        """Stack crops; pass this as the loader's `collate_fn`.

        Returns
        -------
        PaddedBatch
            With `id` (a list) and `wav`: data `[B, crop_samples]`, zero-padded on the right, and
            relative lengths `[B]`.
        """
        return PaddedBatch(list(examples), padding_func=self._pad)

    def _pad(self, wavs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        data = torch.stack(
            [torch.nn.functional.pad(wav, (0, self.crop_samples - len(wav))) for wav in wavs]
        )
        lengths = torch.tensor([len(wav) / self.crop_samples for wav in wavs])
        return data, lengths


class CropDataset(Crops):
    """A virtual epoch of random crops.

    Utterances are drawn with probabilities proportional to their durations and offsets uniformly,
    so that every second of speech is equally likely; then each crop's peak is set. An utterance
    shorter than a crop is taken whole.

    Parameters
    ----------
    utterances : Sequence[Mapping[str, Any]]
        Rows with "wav" (path of an audio file) and "duration" (seconds), optionally "ID":
        dictionaries, or what `wavcube.data.manifest.Utterance.as_dict` returns.
    crop_seconds : float
        Length of a crop.
    crops_per_epoch : int
        Length of the dataset.
    sample_rate : int
        Of the crops, in Hz. Files at other rates are resampled.
    seed : int
        Draws utterances, offsets and peaks.
    peak_db : tuple[float, float]
        Range of the peak in dB relative to full scale.

    Raises
    ------
    ValueError
        When there is no utterance or a number is out of range.

    Examples
    --------
    >>> from speechbrain.dataio import audio_io
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> audio_io.save(path, 0.1 * torch.randn(1, 16000), 16000)
    >>> rows = [{"ID": "a", "wav": str(path), "duration": 1.0}]
    >>> dataset = CropDataset(rows, crop_seconds=0.5, crops_per_epoch=4, sample_rate=16000, seed=1)
    >>> dataset.set_epoch(1)
    >>> batch = dataset.collate([dataset[0], dataset[1]])
    >>> batch.wav.data.shape, batch.wav.lengths
    (torch.Size([2, 8000]), tensor([1., 1.]))
    """

    def __init__(
        self,
        utterances: Sequence[Mapping[str, Any]],
        *,
        crop_seconds: float,
        crops_per_epoch: int,
        sample_rate: int,
        seed: int,
        peak_db: tuple[float, float] = (-6.0, -1.0),
    ) -> None:
        if not utterances:
            raise ValueError("there is no utterance to take crops from")
        super().__init__(
            crop_seconds=crop_seconds,
            crops_per_epoch=crops_per_epoch,
            sample_rate=sample_rate,
            seed=seed,
            peak_db=peak_db,
        )
        self._paths = [str(row["wav"]) for row in utterances]
        self._ids = [str(row.get("ID", Path(row["wav"]).stem)) for row in utterances]
        durations = np.array([float(row["duration"]) for row in utterances])
        if not (durations > 0).all():
            bad = self._ids[int(np.argmin(durations > 0))]
            raise ValueError(f"utterance {bad!r} has no duration above 0 s")
        self._ends = np.cumsum(durations) / durations.sum()

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return crop `index` of this epoch: "id" and "wav" `[n]`, n <= crop_samples, float32."""
        which, position, gain_db = self.draw(index)
        wav = self.read(self._paths[which], position)
        return {"id": self._ids[which], "wav": wav * gain_to(wav, gain_db)}

    def draw(self, index: int) -> tuple[int, float, float]:
        """Draw an utterance, a position (0 to 1) among its offsets and a peak in dB."""
        rng = self.generator(index)
        which = int(np.searchsorted(self._ends, rng.random(), side="right"))
        which = min(which, len(self._paths) - 1)
        return which, rng.random(), rng.uniform(*self.peak_db)

    def read(self, path: str, position: float) -> Tensor:
        """Read a crop that starts at `position` (0 to 1) of the possible offsets; mono, `[n]`."""
        with SoundFile(path) as file:
            frames = -(-self.crop_samples * file.samplerate // self.sample_rate)
            # A uniform draw over the offsets 0..spare, both included.
            spare = max(0, file.frames - frames)
            samples = file.read_from(min(spare, int(position * (spare + 1))), frames)
            rate = file.samplerate
        wav = resample(samples.mean(dim=1), rate, self.sample_rate)
        if not wav.isfinite().all():
            raise ValueError(f"{path}: samples that are NaN or infinite")
        return wav[: self.crop_samples]


def gain_to(wav: Tensor, peak_db: float) -> float | Tensor:
    """Give the factor that brings a waveform to a peak; silence stays as it is."""
    peak = wav.abs().max()
    return 10 ** (peak_db / 20) / peak if peak > 0 else 1.0


class SpeechDataset(Protocol):
    """Items with "id" and "wav" `[T]`: crops, or whole utterances."""

    def __len__(self) -> int:
        """Return the number of items."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return an item."""


def utterance_dataset(
    utterances: Sequence[Utterance],
    sample_rate: int,
    output_keys: Sequence[str] = ("id", "wav", "spk_id"),
) -> DynamicItemDataset:
    """Build a dataset whose "wav" is the waveform, as `CropDataset`'s is.

    With SpeechBrain's default collation `batch.wav` is then data `[B, T]` and relative lengths
    `[B]`, for crops and whole utterances alike.

    Parameters
    ----------
    utterances : Sequence[Utterance]
        Rows of a manifest.
    sample_rate : int
        Of the waveforms, in Hz.
    output_keys : Sequence[str]
        Of "id", "wav", "path", "duration", "spk_id" and "wrd".

    Raises
    ------
    ValueError
        When there is no utterance.

    Examples
    --------
    >>> import torch
    >>> from wavcube.data.audio import write_audio
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> write_audio(path, torch.zeros(800), 16000)
    >>> dataset = utterance_dataset([Utterance("a", 0.05, str(path), "sue")], 16000)
    >>> dataset[0]["wav"].shape, dataset[0]["spk_id"]
    (torch.Size([800]), 'sue')
    """
    if not utterances:
        raise ValueError("there is no utterance to make a dataset of")
    rows = {
        row.ID: {
            "path": row.wav,
            "duration": row.duration,
            "spk_id": row.spk_id,
            "wrd": row.wrd,
        }
        for row in utterances
    }
    read = {
        "func": partial(read_audio, sample_rate=sample_rate),
        "takes": "path",
        "provides": "wav",
    }
    return DynamicItemDataset(rows, [read], list(output_keys))
