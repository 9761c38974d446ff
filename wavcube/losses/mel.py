"""Log-mel spectrogram and the L1 distance of two of them.

The reconstruction term of Vocos (arXiv 2306.00814) and WavCube (arXiv 2605.06407): HTK mel scale,
magnitude (not power) spectrogram, centred frames, natural logarithm floored at 1e-7.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

from wavcube.losses.combine import masked_mean

LOG_FLOOR = 1e-7


Count = TypeVar("Count", int, Tensor)


class LogMelSpectrogram(nn.Module):
    """Natural logarithm of an HTK mel magnitude spectrogram, always in float32.

    Equal to torchaudio's ``MelSpectrogram(power=1)`` with centred, reflect-padded frames, with two
    additions: each item of a padded batch is reflected at its own end, so that its frames are those
    of the item alone; and items may be shorter than half a window (the reflection then repeats).

    Parameters
    ----------
    sample_rate : int
        Samples per second of the input.
    n_mels : int
        Number of mel bands between 0 Hz and half the sample rate.
    n_fft : int
        Window (periodic Hann) and transform length in samples.
    hop_length : int
        Samples between frames.

    Examples
    --------
    >>> import torch
    >>> LogMelSpectrogram(16000)(torch.randn(2, 16000)).shape
    torch.Size([2, 100, 63])
    """

    window: Tensor
    bands: Tensor

    def __init__(
        self, sample_rate: int, n_mels: int = 100, n_fft: int = 1024, hop_length: int = 256
    ) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.n_mels = n_mels
        self.n_fft = n_fft
        self.hop_length = hop_length
        bands = melscale_fbanks(
            n_fft // 2 + 1, 0.0, sample_rate / 2, n_mels, sample_rate, norm=None, mel_scale="htk"
        )
        # Both follow from the arguments: not persistent, so that no checkpoint carries them.
        self.register_buffer("bands", bands, persistent=False)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def num_frames(self, num_samples: Count) -> Count:
        """Count the frames of a signal: one at every multiple of the hop, both ends included.

        Parameters
        ----------
        num_samples : int or Tensor
            Length in samples.

        Returns
        -------
        int or Tensor
            ``num_samples // hop_length + 1``.
        """
        return num_samples // self.hop_length + 1

    def forward(self, wavs: Tensor, num_samples: Tensor | None = None) -> Tensor:
        """Compute the log-mel spectrogram.

        Parameters
        ----------
        wavs : Tensor
            Waveforms, ``[B, T]``.
        num_samples : Tensor, optional
            True length of each item in samples, Long ``[B]``; what follows is never read by a frame
            of the item itself.

        Returns
        -------
        Tensor
            ``[B, n_mels, T // hop_length + 1]``, float32. Frames past an item's own
            ``num_frames`` mean nothing.

        Raises
        ------
        ValueError
            If ``wavs`` is not ``[B, T]`` with at least one sample.
        """
        if wavs.dim() != 2 or wavs.shape[1] == 0:
            raise ValueError(
                f"expected waveforms [B, T] with T >= 1, got shape {tuple(wavs.shape)}"
            )
        with torch.autocast(wavs.device.type, enabled=False):
            padded = self._reflect(wavs.float(), num_samples)
            spectrum = torch.stft(
                padded,
                self.n_fft,
                self.hop_length,
                window=self.window,
                center=False,
                return_complex=True,
            )
            mel = self.bands.transpose(0, 1) @ spectrum.abs()
            return mel.clamp(min=LOG_FLOOR).log()

    def _reflect(self, wavs: Tensor, num_samples: Tensor | None) -> Tensor:
        """Extend ``[B, T]`` by half a window on both sides, mirrored at each item's own ends."""
        batch, size = wavs.shape
        if num_samples is None:
            num_samples = torch.full((batch,), size, device=wavs.device)
        half = self.n_fft // 2
        position = torch.arange(-half, size + half, device=wavs.device)
        # A signal mirrored at both ends is periodic with twice the distance of its end samples.
        period = (2 * (num_samples - 1)).clamp(min=1).unsqueeze(1)
        position = position % period
        return wavs.gather(1, torch.minimum(position, period - position).clamp(max=size - 1))


class MelLoss(nn.Module):
    """Mean absolute difference of two log-mel spectrograms.

    Parameters
    ----------
    sample_rate : int
        Samples per second of the waveforms.
    n_mels : int
        Number of mel bands.
    n_fft : int
        Window and transform length in samples.
    hop_length : int
        Samples between frames.

    Examples
    --------
    >>> import torch
    >>> loss, wavs = MelLoss(16000), torch.randn(2, 16000)
    >>> loss(wavs, wavs)
    tensor(0.)
    """

    def __init__(
        self, sample_rate: int, n_mels: int = 100, n_fft: int = 1024, hop_length: int = 256
    ) -> None:
        super().__init__()
        self.log_mel = LogMelSpectrogram(sample_rate, n_mels, n_fft, hop_length)

    def forward(
        self, generated: Tensor, target: Tensor, num_samples: Tensor | None = None
    ) -> Tensor:
        """Compare generated waveforms with their targets.

        Parameters
        ----------
        generated : Tensor
            Generated waveforms, ``[B, T]``.
        target : Tensor
            Waveforms to reach, ``[B, T]``.
        num_samples : Tensor, optional
            True length of each item in samples, Long ``[B]``. Padding then counts neither through
            the window's overlap nor as frames.

        Returns
        -------
        Tensor
            Scalar, float32, in nepers; every valid frame of the batch counts the same.

        Raises
        ------
        ValueError
            If the two batches differ in shape.
        """
        if generated.shape != target.shape:
            raise ValueError(
                f"generated and target waveforms must have the same shape [B, T], got "
                f"{tuple(generated.shape)} and {tuple(target.shape)}"
            )
        distance = (
            (self.log_mel(generated, num_samples) - self.log_mel(target, num_samples))
            .abs()
            .mean(dim=1)
        )
        if num_samples is None:
            return distance.mean()
        frames = torch.arange(distance.shape[1], device=distance.device)
        return masked_mean(distance, frames < self.log_mel.num_frames(num_samples).unsqueeze(1))


class MultiScaleMelLoss(nn.Module):
    """Mean of log-mel distances over window lengths, as codecs are trained with.

    One window leaves open what happens within its length; short windows fix onsets, long ones
    the harmonics. Kumar et al., "High-Fidelity Audio Compression with Improved RVQGAN"
    (arXiv 2306.06546), section 3.4.

    Parameters
    ----------
    sample_rate : int
        Samples per second of the waveforms.
    n_ffts : sequence of int
        Windows in samples, each with a hop of a quarter.
    n_mels : sequence of int
        Mel bands of each.

    Raises
    ------
    ValueError
        If there are not as many numbers of bands as windows.

    Examples
    --------
    >>> loss, wavs = MultiScaleMelLoss(16000), torch.randn(2, 16000)
    >>> loss(wavs, wavs)
    tensor(0.)
    """

    def __init__(
        self,
        sample_rate: int,
        n_ffts: Sequence[int] = (256, 512, 1024, 2048),
        n_mels: Sequence[int] = (25, 50, 100, 160),
    ) -> None:
        super().__init__()
        if len(n_ffts) != len(n_mels) or not n_ffts:
            raise ValueError(f"{len(n_mels)} numbers of bands for {len(n_ffts)} windows")
        self.scales = nn.ModuleList(
            MelLoss(sample_rate, bands, window, window // 4)
            for window, bands in zip(n_ffts, n_mels, strict=True)
        )

    def forward(
        self, generated: Tensor, target: Tensor, num_samples: Tensor | None = None
    ) -> Tensor:
        """Compare waveforms `[B, T]`; see :meth:`wavcube.losses.mel.MelLoss.forward`."""
        losses = [scale(generated, target, num_samples) for scale in self.scales]
        return torch.stack(losses).mean()
