"""Signals as metrics see them: read, checked, brought to one rate and one length."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torchaudio.functional import resample as torch_resample

from wavcube.data.audio import inspect_audio, read_audio

Seconds = float


# Three steps of 16-bit audio: what dither leaves of digital silence.
class MetricError(Exception):
    """A score that cannot be computed for one pair of signals; the message is the reason."""


class TechnicalError(MetricError):
    """A score that a file or a tool stands in the way of, whatever the clip sounds like."""


SILENCE_PEAK = 1e-4
# A codec may round to whole frames; anything longer is another recording or a bug.
LENGTH_TOLERANCE: Seconds = 0.05


@dataclass(frozen=True)
class SignalPair:
    """A reference, what a system made of it, and what is said in it.

    Parameters
    ----------
    name : str
        Identifier in reports; scores are sorted by it.
    reference, generated : ndarray or Path
        Mono waveforms, ``[T]``, or audio files that are read when the pair is scored.
    sample_rate : int, optional
        Rate in Hz of waveforms given as arrays; files carry their own. A generated file is
        resampled to the reference's rate; a generated array must have it.
    transcript : str, optional
        What is said, for the word error rate.

    Raises
    ------
    ValueError
        If an array is not one-dimensional or comes without its rate.

    Examples
    --------
    >>> import numpy as np
    >>> SignalPair("a", np.ones(8), np.ones(8), 16000).load().sample_rate
    16000
    """

    name: str
    reference: np.ndarray | Path
    generated: np.ndarray | Path
    sample_rate: int | None = None
    transcript: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no later step could explain."""
        for label, source in (("reference", self.reference), ("generated", self.generated)):
            if not isinstance(source, (np.ndarray, Path)):
                raise ValueError(f"the {label} signal is an array or a Path, not {type(source)}")
            if isinstance(source, np.ndarray) and source.ndim != 1:
                raise ValueError(f"the {label} signal must be mono [T], got shape {source.shape}")
            if isinstance(source, np.ndarray) and self.sample_rate is None:
                raise ValueError(f"the {label} signal is an array: its sample_rate is needed")

    def load(self) -> LoadedPair:
        """Read files, resample the generated signal to the reference's rate, check both.

        Returns
        -------
        LoadedPair
            The same pair with float64 waveforms ``[T]`` and ``[T']`` at one rate.

        Raises
        ------
        TechnicalError
            If a file cannot be read.
        MetricError
            If a signal is empty, silent or not finite.
        """
        try:
            if isinstance(self.reference, Path):
                rate = inspect_audio(self.reference).sample_rate
            else:
                rate = cast(int, self.sample_rate)  # every array comes with one
            reference, generated = (
                read_audio(source, rate).double().numpy() if isinstance(source, Path) else source
                for source in (self.reference, self.generated)
            )
        except (OSError, ValueError) as error:
            raise TechnicalError(str(error)) from error
        for label, samples in (("reference", reference), ("generated", generated)):
            _check(samples, label)
        reference, generated = reference.astype(np.float64), generated.astype(np.float64)
        return LoadedPair(self.name, reference, generated, rate, self.transcript)


class LoadedPair(SignalPair):
    """A pair whose waveforms have been read and checked, both at one rate."""

    reference: np.ndarray
    generated: np.ndarray
    sample_rate: int

    def trimmed(self) -> LoadedPair:
        """Cut both signals to the shorter one's length.

        Returns
        -------
        LoadedPair
            The pair with equal lengths.

        Raises
        ------
        MetricError
            If the lengths differ by more than ``LENGTH_TOLERANCE``.
        """
        sizes = len(self.reference), len(self.generated)
        if abs(sizes[0] - sizes[1]) > LENGTH_TOLERANCE * self.sample_rate:
            raise MetricError(
                f"the reference has {sizes[0]} samples and the generated signal {sizes[1]} at "
                f"{self.sample_rate} Hz: an aligned score needs lengths within "
                f"{LENGTH_TOLERANCE} s of each other"
            )
        size = min(sizes)
        return replace(self, reference=self.reference[:size], generated=self.generated[:size])


def resample(samples: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Change the sample rate by band-limited interpolation.

    Parameters
    ----------
    samples : ndarray
        Waveform, ``[T]``.
    rate, new_rate : int
        Present and wanted rate in Hz.

    Returns
    -------
    ndarray
        Float64 ``[ceil(T * new_rate / rate)]``.

    Examples
    --------
    >>> import numpy as np
    >>> resample(np.ones(441), 44100, 16000).shape
    (160,)
    """
    if rate == new_rate:
        return samples
    # 64 zero crossings and a roll-off of 0.95: Kaiser-best of the usual tools
    wav = torch_resample(
        torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float64)),
        rate,
        new_rate,
        lowpass_filter_width=64,
        rolloff=0.95,
    )
    return wav.numpy()


def _check(samples: np.ndarray, label: str) -> None:
    if samples.size == 0:
        raise MetricError(f"the {label} signal has no samples")
    if not np.isfinite(samples).all():
        raise MetricError(f"the {label} signal has NaN or infinite samples")
    peak = np.abs(samples).max()
    if peak < SILENCE_PEAK:
        raise MetricError(f"the {label} signal is silent (peak {peak:.1e} < {SILENCE_PEAK:.0e})")
