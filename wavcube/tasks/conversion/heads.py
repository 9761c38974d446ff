"""Conversion heads: what is said, its f0 and a voice to the latent of that voice saying it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wavcube.lobes.configurable import Configurable
from wavcube.lobes.lengths import length_mask
from wavcube.losses.combine import masked_mean
from wavcube.tasks.conversion.voice import Voice, instance_normalize, masked_moments

# ends of the scale of F0 that a head sees, in Hz
LOWEST_HZ, HIGHEST_HZ = 60.0, 500.0
# deviations below it count as this
SMALLEST_STD = 1e-3


class MelodyScale(nn.Module):
    """F0 as a soft position on a logarithmic scale, so that a linear map can tell its heights.

    Parameters
    ----------
    steps : int
        Of the scale.

    Examples
    --------
    >>> scale = MelodyScale(32)
    >>> scale(torch.tensor([[5.0, 0.0]]), torch.tensor([[True, False]])).shape
    torch.Size([1, 2, 33])
    """

    places: Tensor

    def __init__(self, steps: int = 32) -> None:
        super().__init__()
        ends = math.log(LOWEST_HZ), math.log(HIGHEST_HZ)
        self.register_buffer("places", torch.linspace(*ends, steps), persistent=False)
        self.dim = steps + 1

    def forward(self, log_f0: Tensor, voiced: Tensor) -> Tensor:
        """Spread `[B, N]` over the steps: `[B, N, steps + 1]`, the last one for voicing."""
        width = self.places[1] - self.places[0]
        near = torch.exp(-0.5 * ((log_f0[..., None] - self.places) / width).square())
        return torch.cat([near, torch.ones_like(near[..., :1])], -1) * voiced[..., None]


class ContentAttention(nn.Module):
    """For every frame of content, what the target says with that content.

    A soft k-nearest-neighbour match (Baas et al., "Voice conversion with just nearest neighbors",
    arXiv 2305.18975), in a space that is learned: cosines of the contents of source and reference,
    sharpened by a learned factor, weigh the reference's latents.

    Parameters
    ----------
    sharpness : float
        Factor of the cosines at the start.

    Examples
    --------
    >>> match = ContentAttention()
    >>> contents = torch.randn(2, 5, 8), torch.randn(2, 9, 8)
    >>> match(*contents, torch.randn(2, 9, 4), torch.tensor([9, 6])).shape
    torch.Size([2, 5, 4])
    """

    def __init__(self, sharpness: float = 30.0) -> None:
        super().__init__()
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(sharpness)))

    def forward(self, content: Tensor, keys: Tensor, values: Tensor, frames: Tensor) -> Tensor:
        """Match.

        Parameters
        ----------
        content : Tensor
            Of the source, `[B, N, K]`.
        keys : Tensor
            Content of the reference, `[B, M, K]`.
        values : Tensor
            What to weigh, `[B, M, D]`.
        frames : Tensor
            Valid ones of the reference `[B]`.

        Returns
        -------
        Tensor
            `[B, N, D]`.
        """
        query, keys = F.normalize(content, dim=-1), F.normalize(keys, dim=-1)
        hidden = ~length_mask(frames, keys.shape[1])[:, None]
        scores = self.log_sharpness.exp() * query @ keys.transpose(1, 2)
        return scores.masked_fill(hidden, -torch.inf).softmax(-1) @ values


class ConversionHead(Configurable):
    """What a voice converter asks of its head.

    A head works in units of the wanted voice's own moments: a subclass gives :meth:`generate`, the
    latents in them, and :meth:`errors`.

    Parameters
    ----------
    latent_dim : int
        Width D of the latent.
    embedding_dim : int
        Width of the speaker embedding; 0 for none.

    Raises
    ------
    ValueError
        If a width is out of range.
    """

    def __init__(self, latent_dim: int, embedding_dim: int = 0) -> None:
        super().__init__()
        if latent_dim < 1 or embedding_dim < 0:
            raise ValueError(
                f"latent_dim {latent_dim} must be at least 1, and embedding_dim {embedding_dim} at "
                "least 0"
            )
        self.latent_dim, self.embedding_dim = latent_dim, embedding_dim

    def forward(
        self, latents: Tensor, frames: Tensor, log_f0: Tensor, voiced: Tensor, voice: Voice
    ) -> Tensor:
        """Convert.

        Parameters
        ----------
        latents : Tensor
            Of the source, `[B, N, D]`. What lies beyond an item's frames is ignored.
        frames : Tensor
            Counts `[B]`.
        log_f0, voiced : Tensor
            F0 wanted, `[B, N]`.
        voice : Voice
            Whose.

        Returns
        -------
        Tensor
            Latents `[B, N, D]`, float32, zero in the padding.

        Raises
        ------
        ValueError
            If a width is another than the head's.
        """
        self.check(latents, voice)
        mean, std = masked_moments(voice.latents.float(), voice.frames)
        made = self.generate(latents, frames, log_f0, voiced, voice).float()
        made = mean[:, None] + std[:, None] * made
        return made.masked_fill(~length_mask(frames, made.shape[1])[..., None], 0.0)

    def loss(
        self,
        latents: Tensor,
        frames: Tensor,
        log_f0: Tensor,
        voiced: Tensor,
        voice: Voice,
        target: Tensor,
    ) -> Tensor:
        """Distance to a target in units of the voice's deviations.

        Parameters
        ----------
        latents, frames, log_f0, voiced, voice
            See :meth:`forward`.
        target : Tensor
            Latents `[B, N, D]`.

        Returns
        -------
        Tensor
            Mean over valid frames and dimensions.
        """
        self.check(latents, voice)
        mean, std = masked_moments(voice.latents.float(), voice.frames)
        scaled = (target - mean[:, None]) / std[:, None].clamp(min=SMALLEST_STD)
        errors = self.errors(latents, frames, log_f0, voiced, voice, scaled)
        return masked_mean(errors.mean(dim=-1), length_mask(frames, errors.shape[1]))

    def check(self, latents: Tensor, voice: Voice) -> None:
        """Refuse latents, moments or embeddings of other widths with a ValueError."""
        for what, given in (("latents", latents), ("the voice's latents", voice.latents)):
            if given.dim() != 3 or given.shape[2] != self.latent_dim:
                raise ValueError(
                    f"{what} must be [batch, frames, {self.latent_dim}], got {list(given.shape)}"
                )
        if len(latents) != len(voice.latents):
            raise ValueError(f"{len(latents)} sources, but {len(voice.latents)} voices")
        width = 0 if voice.embedding is None else voice.embedding.shape[1]
        if self.embedding_dim and width != self.embedding_dim:
            raise ValueError(
                f"this head needs speaker embeddings of width {self.embedding_dim}, got {width}"
            )

    def generate(
        self, latents: Tensor, frames: Tensor, log_f0: Tensor, voiced: Tensor, voice: Voice
    ) -> Tensor:
        """Make `[B, N, D]` in units of the voice's moments; see :meth:`forward`."""
        raise NotImplementedError

    def errors(
        self,
        latents: Tensor,
        frames: Tensor,
        log_f0: Tensor,
        voiced: Tensor,
        voice: Voice,
        target: Tensor,
    ) -> Tensor:
        """Compare with a target `[B, N, D]` in these units: `[B, N, D]`."""
        raise NotImplementedError


class MatchingHead(ConversionHead):
    """Base of the heads that match: content, f0 and voice to one sequence of states.

    The source's voice goes in three ways: its moments are taken from the latents, few channels are
    left for the content, and training takes the content from copies with other voices
    (:mod:`wavcube.tasks.conversion.perturbation`). The target's comes from latents of its
    recordings, their moments and, if it is used, a speaker embedding.

    Parameters
    ----------
    latent_dim : int
        Width D of the latent.
    model_dim : int
        Width of the states.
    content_dim : int
        Channels of the bottleneck.
    embedding_dim : int
        Width of the speaker embedding; 0 for none.

    Raises
    ------
    ValueError
        If a width is out of range.
    """

    def __init__(
        self, latent_dim: int, model_dim: int, content_dim: int, embedding_dim: int
    ) -> None:
        super().__init__(latent_dim, embedding_dim)
        if min(model_dim, content_dim) < 1:
            raise ValueError(
                f"model_dim {model_dim} and content_dim {content_dim} must be at least 1"
            )
        self.content = nn.Linear(latent_dim, content_dim)
        self.match = ContentAttention()
        self.scale = MelodyScale()
        self.moments = nn.LayerNorm(2 * latent_dim)
        self.from_content = nn.Linear(content_dim, model_dim)
        self.from_match = nn.Linear(latent_dim, model_dim)
        self.from_melody = nn.Linear(self.scale.dim, model_dim)
        self.from_voice = nn.Linear(2 * latent_dim + embedding_dim, model_dim)

    def prepare(
        self, latents: Tensor, frames: Tensor, log_f0: Tensor, voiced: Tensor, voice: Voice
    ) -> tuple[Tensor, Tensor]:
        """Bring together what is known of the result.

        Returns
        -------
        states : Tensor
            `[B, N, model_dim]`.
        matched : Tensor
            What the target's own frames suggest, `[B, N, D]` in units of its moments.
        """
        content = self.content(instance_normalize(latents.float(), frames))
        own = instance_normalize(voice.latents.float(), voice.frames)
        matched = self.match(content, self.content(own), own, voice.frames)
        states = self.from_content(content) + self.from_match(matched)
        states = states + self.from_melody(self.scale(log_f0, voiced))
        return states + self._known(voice)[:, None], matched

    def _known(self, voice: Voice) -> Tensor:
        """State `[B, model_dim]` of what does not change over time."""
        mean, std = masked_moments(voice.latents.float(), voice.frames)
        known = self.moments(torch.cat([mean, std.clamp(min=SMALLEST_STD).log()], -1))
        if self.embedding_dim:
            # of unit length: hence of the size of the moments
            known = torch.cat([known, voice.embedding * self.embedding_dim**0.5], -1)
        return self.from_voice(known)
