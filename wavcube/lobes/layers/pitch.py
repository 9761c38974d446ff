"""Fundamental frequency at a model's frames, by autocorrelation and the cheapest path.

P. Boersma, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise
ratio of a sampled sound", IFA Proceedings 17, 1993: candidates are peaks of the autocorrelation
of a windowed frame, divided by that of the window; voicing and octaves are chosen by dynamic
programming.
"""

from __future__ import annotations

import torch
from speechbrain.processing.vocal_features import autocorrelate
from torch import Tensor
from torch.nn import functional as F

from wavcube.lobes.configurable import Configurable
from wavcube.lobes.lengths import ceil_division, length_mask

# Boersma's costs: of calling a frame voiced, of low candidates, of jumps and of changes in voicing
VOICING_THRESHOLD = 0.45
OCTAVE_COST = 0.01
JUMP_COST = 0.35
VOICING_COST = 0.14
# frames this much quieter than the loudest cannot be voiced
SILENCE_DB = 35.0


class PitchTracker(Configurable):
    """Logarithm of F0 and voicing for every frame of a latent.

    An item's result does not depend on its batch. No gradient goes through it.

    Parameters
    ----------
    sample_rate : int
        Of the waveforms, in Hz.
    hop : int
        Samples per frame.
    lowest_hz, highest_hz : float
        Range of F0.
    num_candidates : int
        Peaks of a frame that the path may choose from.

    Examples
    --------
    >>> time = torch.arange(16000) / 16000
    >>> log_f0, voiced = PitchTracker(16000, 320)(torch.sin(2 * torch.pi * 200 * time)[None])
    >>> log_f0.shape, round(float(log_f0[0, 25].exp()), 1), bool(voiced[0, 25])
    (torch.Size([1, 50]), 200.0, True)
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        hop: int = 320,
        lowest_hz: float = 60.0,
        highest_hz: float = 500.0,
        num_candidates: int = 4,
    ) -> None:
        super().__init__()
        if not 0 < lowest_hz < highest_hz < sample_rate / 4:
            raise ValueError(
                f"F0 from {lowest_hz} to {highest_hz} Hz: it must be a range above 0 and below a "
                f"quarter of {sample_rate} Hz"
            )
        self.sample_rate, self.hop, self.num_candidates = sample_rate, hop, num_candidates
        self.shortest, self.longest = int(sample_rate / highest_hz), int(sample_rate / lowest_hz)
        # three periods of the lowest voice, as Boersma asks
        self.window = max(hop, 3 * self.longest)

    @torch.no_grad()
    def forward(self, wavs: Tensor, samples: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Track.

        Parameters
        ----------
        wavs : Tensor
            `[B, T]`.
        samples : Tensor, optional
            True lengths `[B]`; by default T.

        Returns
        -------
        log_f0 : Tensor
            Natural logarithm of F0 in Hz, `[B, N]` with N = ceil(T / hop), 0 where unvoiced.
        voiced : Tensor
            Bool `[B, N]`.
        """
        if samples is None:
            samples = torch.full((len(wavs),), wavs.shape[1], device=wavs.device)
        frames = ceil_division(samples, self.hop)
        pieces = self._frames(wavs.float().masked_fill(~length_mask(samples, wavs.shape[1]), 0.0))
        strength, lags = self._candidates(pieces, frames)
        chosen = _cheapest_path(strength, lags, frames)
        voiced = (chosen > 0) & length_mask(frames, chosen.shape[1])
        log_f0 = torch.log(self.sample_rate / chosen.clamp(min=1.0))
        return log_f0.masked_fill(~voiced, 0.0), voiced

    def _frames(self, wavs: Tensor) -> Tensor:
        """Cut frames around the centres of the latent's: `[B, N, window]`."""
        count = -(-wavs.shape[1] // self.hop)
        before = (self.window - self.hop) // 2
        after = (count - 1) * self.hop + self.window - before - wavs.shape[1]
        return F.pad(wavs, (before, after)).unfold(1, self.window, self.hop)

    def _candidates(self, pieces: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Strength and lag (0 for unvoiced) of each candidate: two of `[B, N, K + 1]`."""
        pieces = pieces - pieces.mean(-1, keepdim=True)
        power = pieces.square().mean(-1)
        loudest = power.masked_fill(~length_mask(frames, power.shape[1]), 0.0).amax(1, keepdim=True)
        silent = power <= loudest * 10 ** (-SILENCE_DB / 10)
        pieces = pieces / power.clamp(min=1e-12).sqrt()[..., None]
        correlation = autocorrelate(pieces)
        correlation = correlation / correlation[..., :1].clamp(min=1e-12)
        inner = correlation[..., self.shortest : self.longest + 1]
        left = correlation[..., self.shortest - 1 : self.longest]
        right = correlation[..., self.shortest + 1 : self.longest + 2]
        peak = (inner > left) & (inner >= right)
        # the top of the parabola through three points
        bend = (left - 2 * inner + right).clamp(max=-1e-6)
        shift = (0.5 * (left - right) / bend).clamp(-0.5, 0.5)
        height = inner - 0.25 * (left - right) * shift
        lag = torch.arange(self.shortest, self.longest + 1, device=inner.device) + shift
        height = height - OCTAVE_COST * torch.log2(lag / self.shortest)
        height = height.masked_fill(~peak | silent[..., None], -1.0)
        best, index = height.topk(self.num_candidates, dim=-1)
        lags = lag.gather(-1, index).masked_fill(best <= 0, 0.0)
        unvoiced = torch.full_like(best[..., :1], VOICING_THRESHOLD)
        return torch.cat([unvoiced, best], -1), F.pad(lags, (1, 0))


def _cheapest_path(strength: Tensor, lags: Tensor, frames: Tensor) -> Tensor:
    """Choose a lag `[B, N]` for every frame, 0 where unvoiced."""
    voiced = lags > 0
    strength = strength.masked_fill(
        (~voiced) & (torch.arange(lags.shape[2]) > 0).to(lags.device), -1.0
    )
    log_lag = lags.clamp(min=1.0).log2()
    identity = torch.arange(lags.shape[2], device=lags.device).expand(len(lags), -1)
    total, pointers = strength[:, 0], []
    for frame in range(1, lags.shape[1]):
        before, now = voiced[:, frame - 1, :, None], voiced[:, frame, None, :]
        jump = (log_lag[:, frame - 1, :, None] - log_lag[:, frame, None, :]).abs()
        cost = torch.where(before & now, JUMP_COST * jump, VOICING_COST * (before ^ now))
        best, pointer = (total[:, :, None] - cost).max(1)
        inside = (frame < frames)[:, None]
        # beyond an item's end its path stands still
        total = torch.where(inside, best + strength[:, frame], total)
        pointers.append(torch.where(inside, pointer, identity))
    state = total.argmax(1, keepdim=True)
    states = [state]
    for pointer in reversed(pointers):
        state = pointer.gather(1, state)
        states.append(state)
    path = torch.cat(states[::-1], 1)
    return lags.gather(2, path[..., None])[..., 0]
