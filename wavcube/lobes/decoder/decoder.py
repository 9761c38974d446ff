"""Acoustic decoder: any backbone followed by any waveform head."""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wavcube.lobes.configurable import Configurable
from wavcube.lobes.lengths import length_mask


class AcousticDecoder(Configurable):
    """Decode latents into a waveform with a backbone and a head.

    Parameters
    ----------
    backbone : nn.Module
        Maps latents `[B, N, D]` and frame counts `[B]` to hidden frames
        `[B, N * backbone.upsampling, C]` and their counts: ConvNeXtBackbone or
        CausalTransformerBackbone.
    head : nn.Module
        Maps hidden frames `[B, M, C]` and counts to waveforms `[B, M * head.hop]`: ISTFTHead.

    Raises
    ------
    ValueError
        If the head expects another width than the backbone gives.

    Examples
    --------
    >>> import torch
    >>> from wavcube.lobes.decoder.convnext import ConvNeXtBackbone
    >>> from wavcube.lobes.decoder.decoder import ISTFTHead
    >>> backbone = ConvNeXtBackbone(latent_dim=4, dim=8, intermediate_dim=16, num_layers=1)
    >>> decoder = AcousticDecoder(backbone, ISTFTHead(dim=8, n_fft=32, hop=8))
    >>> decoder(torch.randn(2, 5, 4), torch.tensor([3, 5])).shape
    torch.Size([2, 80])
    """

    # of several kinds, which share no more than their names
    backbone: Any
    head: Any

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        if backbone.dim != head.dim:
            raise ValueError(
                f"the backbone gives {backbone.dim} channels, the head expects {head.dim}: "
                "use one width for both"
            )
        self.backbone = backbone
        self.head = head

    @property
    def hop(self) -> int:
        """Samples per latent frame."""
        return self.backbone.upsampling * self.head.hop

    @property
    def latent_dim(self) -> int:
        """Width D of the latents."""
        return self.backbone.latent_dim

    @property
    def context(self) -> tuple[int, int] | None:
        """Latent frames before and after one that its samples depend on; None without a bound."""
        field = self.backbone.context
        if field is None:
            return None
        before, after = field
        frames = self.backbone.upsampling
        return (
            -(-(before + self.head.context) // frames),
            -(-(after + self.head.context) // frames),
        )

    def forward(self, latents: Tensor, num_frames: Tensor | None = None) -> Tensor:
        """Decode a batch.

        Parameters
        ----------
        latents : Tensor
            Latents `[B, N, D]`; what stands in their padding does not matter.
        num_frames : Tensor or None
            Valid frames of each item `[B]`, 1 to N; None means N for all.

        Returns
        -------
        Tensor
            Waveforms `[B, N * hop]`, exactly zero after an item's own `num_frames * hop` samples.

        Raises
        ------
        ValueError
            If the latents are not `[B, N, D]` with N at least 1, or there is not one count
            for each item.
        """
        if latents.dim() != 3 or latents.shape[2] != self.latent_dim or latents.shape[1] == 0:
            raise ValueError(
                f"latents of shape {tuple(latents.shape)} given, the decoder expects "
                f"[batch, frames >= 1, {self.latent_dim}]"
            )
        if num_frames is not None and num_frames.shape != latents.shape[:1]:
            raise ValueError(
                f"num_frames has shape {tuple(num_frames.shape)}, the batch needs "
                f"{tuple(latents.shape[:1])}"
            )
        hidden, lengths = self.backbone(latents, num_frames)
        return self.head(hidden, lengths)


MAX_MAGNITUDE = 100.0


class ISTFTHead(Configurable):
    """Turn hidden frames into a waveform through an inverse short-time Fourier transform.

    One Linear gives a log magnitude and a phase for each frequency; frames are windowed with a
    periodic Hann window, overlap-added, and divided by the overlapped squared window. "Same"
    padding: half of the window's overhang is cut on each side, so M frames give M * hop samples.
    Everything runs in float32, also under autocast: a bfloat16 phase is audible.

    Parameters
    ----------
    dim : int
        Width C of the hidden frames.
    n_fft : int
        Transform and window size in samples.
    hop : int
        Samples per frame.

    Raises
    ------
    ValueError
        If n_fft is not a multiple of hop or less than two hops.

    Examples
    --------
    >>> head = ISTFTHead(dim=8, n_fft=32, hop=8)
    >>> head(torch.randn(2, 5, 8)).shape
    torch.Size([2, 40])
    """

    window: Tensor

    def __init__(self, dim: int, n_fft: int = 640, hop: int = 160) -> None:
        super().__init__()
        if n_fft % hop or n_fft < 2 * hop:
            raise ValueError(
                f"n_fft={n_fft} must be a multiple of hop={hop} and at least {2 * hop}: "
                "otherwise the windows do not cover the waveform"
            )
        self.dim, self.n_fft, self.hop = dim, n_fft, hop
        self.out = nn.Linear(dim, n_fft + 2)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    @property
    def context(self) -> int:
        """Frames to each side that the samples of a frame depend on."""
        return self.n_fft // self.hop // 2

    def forward(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Synthesise the waveform.

        Parameters
        ----------
        hidden : Tensor
            Frames `[B, M, C]`.
        lengths : Tensor or None
            Valid frames of each item `[B]`; None means all of them.

        Returns
        -------
        Tensor
            Waveform `[B, M * hop]`, float32, exactly zero after an item's own frames.
        """
        with torch.autocast(hidden.device.type, enabled=False):
            frames = self._frames(hidden.float())
            window = self.window.float()
            ones = frames.new_ones(1, frames.shape[1], 1)
            if lengths is not None:
                # an item's last samples must see no neighbour, neither in the sum nor in the
                # envelope: only then do they equal those of the item decoded alone
                valid = length_mask(lengths, frames.shape[1])[..., None]
                frames = frames.masked_fill(~valid, 0.0)
                ones = valid.to(frames.dtype)
            wavs = self._overlap_add(frames * window)
            envelope = self._overlap_add(ones * window.square())
            if lengths is not None:
                inside = length_mask(lengths * self.hop, wavs.shape[1])
                return torch.where(inside, wavs / envelope.masked_fill(~inside, 1.0), 0.0)
            return wavs / envelope

    def _frames(self, hidden: Tensor) -> Tensor:
        """Predict the short-time spectrum of `[B, M, C]` and invert each frame: `[B, M, n_fft]`."""
        weight, bias = self.out.weight.float(), self.out.bias.float()
        log_magnitude, phase = F.linear(hidden, weight, bias).chunk(2, dim=-1)
        # clamping before exp keeps the gradient finite where exp would overflow
        magnitude = log_magnitude.clamp(max=math.log(MAX_MAGNITUDE)).exp()
        spectrum = torch.complex(magnitude * phase.cos(), magnitude * phase.sin())
        return torch.fft.irfft(spectrum, self.n_fft, dim=-1)

    def _overlap_add(self, frames: Tensor) -> Tensor:
        """Add frames `[B, M, n_fft]` at steps of hop and trim both ends: `[B, M * hop]`."""
        batch, count, _ = frames.shape
        ratio = self.n_fft // self.hop
        # frame m covers the hops m .. m + ratio - 1: a sum of `ratio` shifted arrays
        hops = frames.reshape(batch, count, ratio, self.hop).unbind(2)
        shifted = [F.pad(x, (0, 0, shift, ratio - 1 - shift)) for shift, x in enumerate(hops)]
        total = reduce(Tensor.add, shifted)
        trim = (self.n_fft - self.hop) // 2
        return total.flatten(1)[:, trim : trim + count * self.hop]
