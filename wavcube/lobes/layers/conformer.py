"""A Conformer whose result for an item does not depend on its batch."""

from __future__ import annotations

from speechbrain.lobes.models.transformer.Conformer import ConformerEncoder
from speechbrain.nnet.attention import RelPosEncXL
from torch import Tensor

from wavcube.lobes.configurable import Configurable
from wavcube.lobes.layers.masked_convolution import MaskedConvolution
from wavcube.lobes.lengths import length_mask


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
