"""Conversion by a Conformer that gives one answer."""

from __future__ import annotations

from torch import Tensor, nn

from wavcube.lobes.layers.conformer import MaskedConformer
from wavcube.tasks.conversion.heads import MatchingHead
from wavcube.tasks.conversion.voice import Voice


class ConformerConversion(MatchingHead):
    """Correct the match of the target's own frames by a Conformer.

    The correction is zero at the start: what is heard then is the target's nearest frames.

    Parameters
    ----------
    body : MaskedConformer
        Over the states.
    latent_dim : int
        Width D of the latent.
    content_dim : int
        Channels of the bottleneck.
    embedding_dim : int
        Width of the speaker embedding (Resemblyzer's: 256); 0 for none.

    Examples
    --------
    >>> import torch
    >>> body = MaskedConformer(8, num_layers=1, num_heads=2, ffn_dim=16, kernel_size=3)
    >>> head = ConformerConversion(body, latent_dim=6, content_dim=4, embedding_dim=0)
    >>> voice = Voice(torch.randn(2, 9, 6), torch.tensor([9, 5]), torch.full((2,), 5.0))
    >>> f0 = torch.full((2, 7), 5.0), torch.ones(2, 7, dtype=torch.bool)
    >>> head(torch.randn(2, 7, 6), torch.tensor([7, 4]), *f0, voice).shape
    torch.Size([2, 7, 6])
    """

    body: MaskedConformer

    def __init__(
        self,
        body: MaskedConformer,
        latent_dim: int = 128,
        content_dim: int = 64,
        embedding_dim: int = 256,
    ) -> None:
        super().__init__(latent_dim, body.dim, content_dim, embedding_dim)
        self.body = body
        self.output = nn.Linear(body.dim, latent_dim)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def generate(
        self, latents: Tensor, frames: Tensor, log_f0: Tensor, voiced: Tensor, voice: Voice
    ) -> Tensor:
        """Add the correction to the match; see the base class."""
        states, matched = self.prepare(latents, frames, log_f0, voiced, voice)
        return matched + self.output(self.body(states, frames))

    def errors(
        self,
        latents: Tensor,
        frames: Tensor,
        log_f0: Tensor,
        voiced: Tensor,
        voice: Voice,
        target: Tensor,
    ) -> Tensor:
        """Take absolute differences, which a few wild frames do not decide."""
        return (self.generate(latents, frames, log_f0, voiced, voice).float() - target).abs()
