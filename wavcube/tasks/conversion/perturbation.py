"""Another speaker's voice from the same recording: pitch, formants and timbre, drawn at random.

A converter that has to restore an utterance from such a copy cannot copy the voice of its input
(Choi et al., "Neural analysis and synthesis", arXiv 2110.14513, who use PSOLA and an equaliser).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torchaudio
from torch import Tensor

# steps of the ratios at which copies are made: the resampler's kernels grow with their denominator
STEPS = 50


def stretch(wav: Tensor, ratio: float, frame: int = 512, tolerance: int = 160) -> Tensor:
    """Change the duration and nothing else (WSOLA: Verhelst and Roelands, ICASSP 1993).

    Frames are added at half their length, each from where the recording, within a tolerance, goes
    on most as the frame before it would have.

    Parameters
    ----------
    wav : Tensor
        `[T]`.
    ratio : float
        Of the new duration to the old one.
    frame, tolerance : int
        In samples: 32 and 10 ms at 16 kHz.

    Returns
    -------
    Tensor
        `[round(T * ratio)]`.

    Raises
    ------
    ValueError
        If the ratio is not positive.

    Examples
    --------
    >>> stretch(torch.randn(4000), 1.25).shape
    torch.Size([5000])
    """
    if ratio <= 0:
        raise ValueError(f"a duration cannot change by the ratio {ratio}: it must be positive")
    size, hop = round(len(wav) * ratio), frame // 2
    source = np.pad(wav.numpy(), (tolerance + hop, 2 * frame + 2 * tolerance))
    window = np.hanning(frame + 1)[:frame].astype(np.float32)
    made = np.zeros(size + 2 * frame, dtype=np.float32)
    place = tolerance
    for start in range(0, size + hop, hop):
        if start:
            # where this frame should come from, and what would follow on the one before it
            nominal = min(round(start / ratio), len(wav) + hop)
            area = source[nominal : nominal + frame + 2 * tolerance]
            follow = source[place + hop : place + hop + frame]
            place = nominal + _most_alike(area, follow)
        made[start : start + frame] += window * source[place : place + frame]
    return torch.from_numpy(made[hop : hop + size])


def _most_alike(area: np.ndarray, piece: np.ndarray) -> int:
    """Find where in an area the correlation with a piece, levels apart, is highest."""
    sums = np.concatenate([[0.0], np.cumsum(np.square(area, dtype=np.float64))])
    energy = np.maximum(sums[len(piece) :] - sums[: -len(piece)], 1e-12)
    return int(np.argmax(np.correlate(area, piece, "valid") / np.sqrt(energy)))


def shift_pitch(wav: Tensor, ratio: float) -> Tensor:
    """Raise or lower pitch and formants together, in time with the original.

    Parameters
    ----------
    wav : Tensor
        `[T]`.
    ratio : float
        Of the new frequencies to the old ones; taken to the next 1/50.

    Returns
    -------
    Tensor
        `[T]`.
    """
    steps = max(1, round(ratio * STEPS))
    if steps == STEPS:
        return wav
    longer = stretch(wav, steps / STEPS)
    made = torchaudio.functional.resample(longer, steps, STEPS)
    return torch.nn.functional.pad(made, (0, len(wav) - len(made)))


def warp_formants(wav: Tensor, ratio: float, n_fft: int = 1024, quefrencies: int = 36) -> Tensor:
    """Move the spectral envelope and leave the pitch.

    Parameters
    ----------
    wav : Tensor
        `[T]`.
    ratio : float
        Of the new formants to the old ones.
    n_fft : int
        Size of the analysis, in samples.
    quefrencies : int
        Cepstral coefficients that make the envelope; below the period of a high voice.

    Returns
    -------
    Tensor
        `[T]`.
    """
    window, hop = torch.hann_window(n_fft), n_fft // 4
    # zeros around it: a piece may be shorter than what would be mirrored
    spectrum = torch.stft(wav, n_fft, hop, window=window, pad_mode="constant", return_complex=True)
    bins = len(spectrum)
    cepstrum = torch.fft.irfft(spectrum.abs().clamp(min=1e-5).log(), n=n_fft, dim=0)
    cepstrum[quefrencies : n_fft - quefrencies] = 0.0
    envelope = torch.fft.rfft(cepstrum, dim=0).real
    place = (torch.arange(bins) / ratio).clamp(max=bins - 1.0)
    low = place.floor().long().clamp(max=bins - 2)
    part = (place - low)[:, None]
    moved = (1 - part) * envelope[low] + part * envelope[low + 1]
    gain = (moved - envelope).clamp(-3.0, 3.0).exp()
    return torch.istft(spectrum * gain, n_fft, hop, window=window, length=len(wav))


def equalize(wav: Tensor, gains_db: Tensor) -> Tensor:
    """Colour a recording by gains at evenly spaced points of a mel-like axis.

    Parameters
    ----------
    wav : Tensor
        `[T]`.
    gains_db : Tensor
        `[P]`, from the lowest frequency to the highest; between them linear.

    Returns
    -------
    Tensor
        `[T]`.
    """
    spectrum = torch.fft.rfft(wav)
    # logarithmic above a twelfth of the band, linear below, as the mel scale
    axis = torch.log1p(12 * torch.linspace(0, 1, len(spectrum))) / math.log(13)
    place = axis * (len(gains_db) - 1)
    low = place.floor().long().clamp(max=len(gains_db) - 2)
    gain = gains_db[low] + (place - low) * (gains_db[low + 1] - gains_db[low])
    return torch.fft.irfft(spectrum * 10 ** (gain / 20), n=len(wav))


@dataclass(frozen=True)
class SpeakerPerturbation:
    """Draw another voice for a recording: pitch, formants and timbre, each by itself.

    Parameters
    ----------
    pitch : float
        Largest ratio of pitches, up or down, 1 for none.
    formants : float
        Largest ratio of formants.
    timbre_db : float
        Standard deviation of an equaliser's gains.
    bands : int
        Points of the equaliser.

    Raises
    ------
    ValueError
        If a ratio is below 1 or above 2, or another number is out of range.

    Examples
    --------
    >>> perturb = SpeakerPerturbation()
    >>> perturb(torch.randn(8000), np.random.default_rng(0)).shape
    torch.Size([8000])
    """

    pitch: float = 1.6
    formants: float = 1.25
    timbre_db: float = 4.0
    bands: int = 8

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("pitch", "formants"):
            if not 1 <= getattr(self, name) <= 2:
                raise ValueError(f"{name} {getattr(self, name)} must be a ratio from 1 to 2")
        if self.timbre_db < 0 or self.bands < 2:
            raise ValueError(
                f"timbre_db {self.timbre_db} must not be negative, and bands {self.bands} at "
                "least 2"
            )

    def __call__(self, wav: Tensor, rng: np.random.Generator) -> Tensor:
        """Perturb.

        Parameters
        ----------
        wav : Tensor
            `[T]`.
        rng : numpy.random.Generator
            All that is drawn depends on it alone.

        Returns
        -------
        Tensor
            `[T]`, in time with the input and as loud.
        """
        pitch = math.exp(rng.uniform(-1, 1) * math.log(self.pitch))
        formants = math.exp(rng.uniform(-1, 1) * math.log(self.formants))
        gains = torch.from_numpy(rng.normal(0.0, self.timbre_db, self.bands).astype(np.float32))
        made = shift_pitch(wav, pitch)
        made = equalize(warp_formants(made, formants / pitch), gains)
        loudness = made.square().mean().sqrt()
        return made * (wav.square().mean().sqrt() / loudness) if loudness > 0 else made
