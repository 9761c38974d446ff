"""Pairs of noisy and clean speech as datasets: crops of them, and whole ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.utils.data import Dataset

from wavcube.data.audio import read_audio
from wavcube.data.crops import CropDataset, gain_to
from wavcube.data.mixing.pairs import NoisyPair

__all__ = ["PairCrops", "PairDataset"]


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
