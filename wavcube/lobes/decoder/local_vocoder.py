"""The paper's vocoder: a transformer that sees a local window, not causal (arXiv 2605.06407)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from wavcube.lobes.configurable import Configurable
from wavcube.lobes.decoder.rotary_transformer import RotaryTransformerLayer, rotary_table
from wavcube.lobes.layers.local_attention import LocalAttention, check_window


class LocalVocoder(Configurable):
    """Refine coarse acoustic frames with windowed rotary transformer layers.

    Parameters
    ----------
    input_dim : int
        Width of the coarse frames.
    dim : int
        Width C of the layers.
    num_layers : int
        Number of layers.
    num_heads : int
        Attention heads of each layer.
    ffn_dim : int
        Width of the feed-forward parts.
    window : Sequence of int
        Frames that attention sees back and ahead.

    Examples
    --------
    >>> import torch
    >>> vocoder = LocalVocoder(input_dim=4, dim=8, num_layers=1, num_heads=2, ffn_dim=16)
    >>> vocoder(torch.randn(2, 6, 4), torch.tensor([3, 6])).shape
    torch.Size([2, 6, 8])
    """

    def __init__(
        self,
        input_dim: int = 128,
        dim: int = 256,
        num_layers: int = 16,
        num_heads: int = 16,
        ffn_dim: int = 1024,
        window: Sequence[int] = (40, 10),
    ) -> None:
        super().__init__()
        self.input_dim, self.dim = input_dim, dim
        self.num_heads, self.ffn_dim, self.window = num_heads, ffn_dim, check_window(window)
        self.embed = nn.Linear(input_dim, dim, bias=False)
        self.layers = nn.ModuleList(
            RotaryTransformerLayer(dim, num_heads, ffn_dim) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(dim)

    @property
    def context(self) -> tuple[int, int]:
        """Frames before and after a frame that it depends on: those of all layers' windows."""
        back, ahead = self.window
        return back * len(self.layers), ahead * len(self.layers)

    def forward(self, coarse: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Refine frames.

        Parameters
        ----------
        coarse : Tensor
            Coarse frames `[B, M, input_dim]`.
        lengths : Tensor or None
            Valid frames of each item `[B]`; None means all of them.

        Returns
        -------
        Tensor
            Frames `[B, M, C]`; what stands in the padding has no meaning.
        """
        frames = coarse.shape[1]
        attend = LocalAttention(self.window, frames, lengths, coarse.device)
        table = rotary_table(frames, self.dim // self.num_heads, coarse.device)
        hidden = self.embed(coarse)
        for layer in self.layers:
            hidden = layer(hidden, table, attend)
        return self.norm(hidden)
