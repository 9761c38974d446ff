"""Inverse short-time Fourier transform in NumPy alone, for decoders that run without torch.

`wavcube export-onnx` puts a copy of this file beside its networks.
"""

from __future__ import annotations

import numpy as np


def inverse_stft(magnitude: np.ndarray, phase: np.ndarray, hop: int) -> np.ndarray:
    """Synthesise waveforms as :class:`~wavcube.lobes.decoder.decoder.ISTFTHead` does.

    Frames are windowed with a periodic Hann window, overlap-added, and divided by the overlapped
    squared window; half of the window's overhang is cut on each side.

    Parameters
    ----------
    magnitude, phase : ndarray
        Of the spectrum, `[B, M, F]`; F is half of the transform's size plus one.
    hop : int
        Samples per frame.

    Returns
    -------
    ndarray
        Waveforms `[B, M * hop]`, float32.

    Raises
    ------
    ValueError
        If the shapes are other ones, or the hop does not divide the transform's size.

    Examples
    --------
    >>> inverse_stft(np.ones((1, 5, 17)), np.zeros((1, 5, 17)), hop=8).shape
    (1, 40)
    """
    if magnitude.ndim != 3 or magnitude.shape != phase.shape:
        raise ValueError(
            f"magnitude {magnitude.shape} and phase {phase.shape} must both be [batch, frames, "
            "frequencies]"
        )
    size = 2 * (magnitude.shape[2] - 1)
    if hop < 1 or size % hop or size < 2 * hop:
        raise ValueError(
            f"a transform of {size} samples is not a multiple of two or more hops {hop}"
        )
    spectrum = magnitude.astype(np.float64) * np.exp(1j * phase.astype(np.float64))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    frames = np.fft.irfft(spectrum, size) * window
    envelope = _overlap_add(np.broadcast_to(window**2, (1, *frames.shape[1:])), hop)
    return (_overlap_add(frames, hop) / envelope).astype(np.float32)


def _overlap_add(frames: np.ndarray, hop: int) -> np.ndarray:
    """Add frames `[B, M, size]` at steps of hop and trim both ends: `[B, M * hop]`."""
    batch, count, size = frames.shape
    total = np.zeros((batch, count + size // hop - 1, hop))
    # frame m covers the hops m .. m + size / hop - 1
    for shift in range(size // hop):
        total[:, shift : shift + count] += frames[:, :, shift * hop : (shift + 1) * hop]
    trim = (size - hop) // 2
    return total.reshape(batch, -1)[:, trim : trim + count * hop]
