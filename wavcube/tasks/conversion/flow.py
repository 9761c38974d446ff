"""Conversion by flow matching: a velocity that leads from noise to the target's latent.

Y. Lipman et al., "Flow matching for generative modeling", arXiv 2210.02747: straight paths
``x_t = (1 - t) x_0 + t x_1`` from noise to data, whose velocity ``x_1 - x_0`` is learned.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from wavcube.lobes.layers.conformer import MaskedConformer
from wavcube.tasks.conversion.heads import MatchingHead
from wavcube.tasks.conversion.voice import Voice

# cosines and sines that stand for a time between 0 and 1
TIME_WAVES = 16


class FlowConversion(MatchingHead):
    """A Conformer as the velocity of a flow, given what is said, its f0 and the voice.

    Where one answer would be the average of many, a flow draws one of them. The noise of an item is
    drawn by a fixed seed: the same input gives the same speech, whatever its batch.

    Parameters
    ----------
    body : MaskedConformer
        Over the states.
    latent_dim : int
        Width D of the latent.
    content_dim : int
        Channels of the bottleneck.
    embedding_dim : int
        Width of the speaker embedding; 0 for none.
    steps : int
        Of Euler's method from noise to latent.

    Raises
    ------
    ValueError
        If there is no step, or a width is out of range.

    Examples
    --------
    >>> body = MaskedConformer(8, num_layers=1, num_heads=2, ffn_dim=16, kernel_size=3)
    >>> head = FlowConversion(body, latent_dim=6, content_dim=4, embedding_dim=0, steps=2)
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
        embedding_dim: int = 0,
        steps: int = 8,
    ) -> None:
        super().__init__(latent_dim, body.dim, content_dim, embedding_dim)
        if steps < 1:
            raise ValueError(f"a flow needs at least 1 step, not {steps}")
        self.body, self.steps = body, steps
        self.from_point = nn.Linear(latent_dim, body.dim)
        self.from_time = nn.Linear(2 * TIME_WAVES, body.dim)
        self.output = nn.Linear(body.dim, latent_dim)

    def velocity(self, states: Tensor, point: Tensor, time: Tensor, frames: Tensor) -> Tensor:
        """Give the velocity `[B, N, D]` at points `[B, N, D]` and times `[B]`."""
        waves = time[:, None] * math.pi * torch.arange(1, TIME_WAVES + 1, device=time.device)
        clock = self.from_time(torch.cat([waves.cos(), waves.sin()], -1))
        return self.output(self.body(states + self.from_point(point) + clock[:, None], frames))

    def generate(
        self, latents: Tensor, frames: Tensor, log_f0: Tensor, voiced: Tensor, voice: Voice
    ) -> Tensor:
        """Follow the velocity from noise by Euler's method; see the base class."""
        states, _ = self.prepare(latents, frames, log_f0, voiced, voice)
        point = self._noise(frames, states.shape[1])
        for step in range(self.steps):
            time = torch.full((len(states),), step / self.steps, device=states.device)
            point = point + self.velocity(states, point, time, frames).float() / self.steps
        return point

    def errors(
        self,
        latents: Tensor,
        frames: Tensor,
        log_f0: Tensor,
        voiced: Tensor,
        voice: Voice,
        target: Tensor,
    ) -> Tensor:
        """Square the error of the velocity at a time and a noise, drawn in training only."""
        states, _ = self.prepare(latents, frames, log_f0, voiced, voice)
        if self.training:
            noise = torch.randn_like(target)
            time = torch.rand(len(target), device=target.device)
        else:
            noise = self._noise(frames, target.shape[1])
            time = torch.full((len(target),), 0.5, device=target.device)
        point = torch.lerp(noise, target, time[:, None, None])
        return (self.velocity(states, point, time, frames).float() - (target - noise)).square()

    def _noise(self, frames: Tensor, size: int) -> Tensor:
        """Draw `[B, N, D]`, for each item by its own length alone."""
        noise = torch.zeros(len(frames), size, self.latent_dim)
        for row, count in zip(noise, frames.tolist(), strict=True):
            generator = torch.Generator().manual_seed(0)
            row[:count] = torch.randn(count, self.latent_dim, generator=generator)
        return noise.to(frames.device)
