"""A Conformer whose result for an item does not depend on its batch."""

from __future__ import annotations

from speechbrain.lobes.models.transformer.Conformer import ConformerEncoder, ConvolutionModule
from speechbrain.nnet.attention import RelPosEncXL
from torch import Tensor

from wavcube.lobes.configurable import Configurable
from wavcube.lobes.lengths import length_mask


class MaskedConvolution(ConvolutionModule):
    """A Conformer's convolution that does not see the padding.

    SpeechBrain's masks what the convolution gives and not what it reads, so that the last frames of
    an item hear how long its batch is.
    """

    def forward(
        self, x: Tensor, mask: Tensor | None = None, dynchunktrain_config: None = None
    ) -> Tensor:
        """Convolve.

        Parameters
        ----------
        x : Tensor
            `[B, N, C]`.
        mask : Tensor, optional
            `[B, N, 1]`, True in the padding.
        dynchunktrain_config : None
            SpeechBrain's argument for streaming, which is not supported.

        Returns
        -------
        Tensor
            `[B, N, C]`, zero in the padding.
        """
        gated = self.bottleneck(self.layer_norm(x).transpose(1, 2))
        if mask is not None:
            gated = gated.masked_fill(mask.transpose(1, 2), 0.0)
        made = self.after_conv(self.conv(gated).transpose(1, 2))
        return made if mask is None else made.masked_fill(mask, 0.0)


class MaskedConformer(Configurable):
    """SpeechBrain's Conformer (arXiv 2005.08100) with convolutions that do not see the padding.

    Parameters
    ----------
    dim : int
        Width.
    num_layers : int
        Blocks.
    num_heads : int
        Of the attention.
    ffn_dim : int
        Width inside the feed-forward networks.
    kernel_size : int
        Frames that a convolution sees, odd.
    dropout : float
        In every block.

    Raises
    ------
    ValueError
        If the kernel size is even, or the width no multiple of the heads.

    Examples
    --------
    >>> import torch
    >>> body = MaskedConformer(8, num_layers=1, num_heads=2, ffn_dim=16, kernel_size=3)
    >>> body(torch.randn(2, 5, 8), torch.tensor([5, 3])).shape
    torch.Size([2, 5, 8])
    """

    def __init__(
        self,
        dim: int,
        num_layers: int = 4,
        num_heads: int = 4,
        ffn_dim: int = 512,
        kernel_size: int = 15,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0 or dim % num_heads:
            raise ValueError(
                f"kernel size {kernel_size} must be odd, and the width {dim} a multiple of the "
                f"{num_heads} heads"
            )
        self.dim = dim
        self.positions = RelPosEncXL(dim)
        self.encoder = ConformerEncoder(
            num_layers, dim, ffn_dim, num_heads, kernel_size, dropout=dropout
        )
        for layer in self.encoder.layers:
            layer.convolution_module = MaskedConvolution(dim, kernel_size, dropout=dropout)

    def forward(self, x: Tensor, frames: Tensor) -> Tensor:
        """Transform `[B, N, dim]` with frames `[B]`; the padding of the result has no meaning."""
        padding = ~length_mask(frames, x.shape[1])
        return self.encoder(x, src_key_padding_mask=padding, pos_embs=self.positions(x))[0]
