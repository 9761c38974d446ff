"""The generative head: the latent of what is heard to the latents of what is wanted.

WavCube's own decoder makes them audible, phase included, so that nothing of the input's phase or
noise has to be kept. One source is enhancement, several are separation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wavcube.lobes.configurable import Configurable
from wavcube.lobes.layers.recurrent import run_lstm
from wavcube.lobes.lengths import length_mask, to_absolute


class LatentHead(Configurable):
    """Bidirectional LSTMs whose output is added to the latent, once for each source.

    Parameters
    ----------
    latent_dim : int
        Width D of the latent.
    num_sources : int
        Latents for a frame.
    hidden_dim : int
        Units of an LSTM layer in each direction.
    num_layers : int
        LSTM layers.
    dropout : float
        Between the layers and after the last.

    Examples
    --------
    >>> head = LatentHead(8, num_sources=2, hidden_dim=4, num_layers=1)
    >>> head(torch.randn(3, 5, 8), torch.tensor([1.0, 0.6, 0.4])).shape
    torch.Size([3, 2, 5, 8])
    """

    def __init__(
        self,
        latent_dim: int,
        num_sources: int = 1,
        hidden_dim: int = 512,
        num_layers: int = 3,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.latent_dim, self.num_sources = latent_dim, num_sources
        self.lstm = nn.LSTM(
            latent_dim,
            hidden_dim,
            num_layers,
            batch_first=True,
            # between layers: PyTorch warns when there is nothing between
            dropout=dropout if num_layers > 1 else 0.0,
            bidirectional=True,
        )
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(2 * hidden_dim, num_sources * latent_dim)

    def forward(self, latents: Tensor, lens: Tensor | None = None) -> Tensor:
        """Estimate the latents of the sources.

        Parameters
        ----------
        latents : Tensor
            `[B, N, D]`, of the mixture. What lies beyond an item's length is ignored.
        lens : Tensor, optional
            Relative lengths `[B]`; by default every item fills the batch.

        Returns
        -------
        Tensor
            `[B, S, N, D]`, float32, zero after an item's own frames.

        Raises
        ------
        ValueError
            If the latents are not `[B, N, D]` of the head's width.
        """
        if latents.dim() != 3 or latents.shape[2] != self.latent_dim:
            raise ValueError(
                f"latents must be [batch, frames, {self.latent_dim}], got {list(latents.shape)}"
            )
        counts = to_absolute(lens, latents.shape[1], len(latents), latents.device)
        hidden = self.dropout(run_lstm(self.lstm, latents, counts))
        changes = self.output(hidden).float().unflatten(2, (self.num_sources, -1))
        found = (latents.float()[:, :, None] + changes).transpose(1, 2)
        valid = length_mask(counts, latents.shape[1])[:, None, :, None]
        return torch.where(valid, found, 0.0)
