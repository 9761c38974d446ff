"""Acoustic decoder: any backbone followed by any waveform head."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from wavcube.lobes.configurable import Configurable


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
    >>> from wavcube.lobes.decoder.istft import ISTFTHead
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
