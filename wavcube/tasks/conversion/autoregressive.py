"""SUPERB-SG's any-to-one converter, Taco2-AR, for a latent in place of a mel spectrogram.

W.-C. Huang et al., "S3PRL-VC: open-source voice conversion framework with self-supervised speech
representations", arXiv 2110.06280; sizes of SUPERB-SG (arXiv 2203.06849).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wavcube.lobes.layers.recurrent import run_lstm, run_projected_lstm
from wavcube.lobes.lengths import length_mask
from wavcube.tasks.conversion.heads import ConversionHead
from wavcube.tasks.conversion.voice import Voice, instance_normalize

PRENET_DROPOUT = 0.5


class AutoregressiveConversion(ConversionHead):
    """Convolutions and a BLSTM over the source; two LSTMs that hear the last frame that they made.

    The f0 and the voice are those of its one speaker, which it learns by heart. The dropout in
    front of the LSTMs is on in use too, as in Tacotron 2; there it is the same for every item and
    every time, so that a result can be repeated.

    Parameters
    ----------
    latent_dim : int
        Width D of the latent.
    hidden_dim : int
        Width of the convolutions, and of the BLSTM in each direction.
    prenet_dim : int
        Width of the two layers that the last frame goes through.
    decoder_dim : int
        Width of the LSTMs.
    kernel_size : int
        Of the convolutions, odd.
    dropout : float
        Behind each convolution.
    decoder_dropout : float
        Behind each LSTM.
    recurrent_projection : bool
        An LSTM's state from one frame to the next is its projected output, as in SUPERB-SG;
        otherwise its own, and training is faster, all frames at once.

    Raises
    ------
    ValueError
        If the kernel size is even, or a width is out of range.

    Examples
    --------
    >>> head = AutoregressiveConversion(6, hidden_dim=4, prenet_dim=4, decoder_dim=4)
    >>> voice = Voice(torch.randn(2, 9, 6), torch.tensor([9, 5]), torch.full((2,), 5.0))
    >>> f0 = torch.full((2, 7), 5.0), torch.ones(2, 7, dtype=torch.bool)
    >>> head.eval()(torch.randn(2, 7, 6), torch.tensor([7, 4]), *f0, voice).shape
    torch.Size([2, 7, 6])
    """

    def __init__(
        self,
        latent_dim: int = 128,
        hidden_dim: int = 512,
        prenet_dim: int = 256,
        decoder_dim: int = 1024,
        kernel_size: int = 5,
        dropout: float = 0.5,
        decoder_dropout: float = 0.2,
        recurrent_projection: bool = False,
    ) -> None:
        super().__init__(latent_dim)
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel size {kernel_size} must be odd")
        self.recurrent_projection = recurrent_projection
        self.project = nn.Linear(latent_dim, hidden_dim)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(hidden_dim, hidden_dim, kernel_size, padding=kernel_size // 2, bias=False)
            for _ in range(3)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(hidden_dim) for _ in range(3))
        self.blstm = nn.LSTM(hidden_dim, hidden_dim, batch_first=True, bidirectional=True)
        self.prenet = nn.ModuleList(
            [nn.Linear(latent_dim, prenet_dim), nn.Linear(prenet_dim, prenet_dim)]
        )
        widths = (2 * hidden_dim + prenet_dim, decoder_dim)
        self.decoders = nn.ModuleList(nn.LSTM(w, decoder_dim, batch_first=True) for w in widths)
        self.projections = nn.ModuleList(nn.Linear(decoder_dim, decoder_dim) for _ in widths)
        self.output = nn.Linear(decoder_dim, latent_dim)
        self.dropout, self.decoder_dropout = nn.Dropout(dropout), nn.Dropout(decoder_dropout)

    def encode(self, latents: Tensor, frames: Tensor) -> Tensor:
        """Run convolutions and BLSTM over the source: `[B, N, 2 * hidden_dim]`."""
        valid = length_mask(frames, latents.shape[1])[:, None]
        x = self.project(instance_normalize(latents.float(), frames)).transpose(1, 2)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = self.dropout(F.relu(norm(convolution(x.masked_fill(~valid, 0.0)))))
        return run_lstm(self.blstm, x.transpose(1, 2), frames)

    def generate(
        self, latents: Tensor, frames: Tensor, log_f0: Tensor, voiced: Tensor, voice: Voice
    ) -> Tensor:
        """Make frame after frame; see the base class."""
        del log_f0, voiced, voice
        heard = self.encode(latents, frames)
        last, made = heard.new_zeros(len(heard), 1, self.latent_dim), []
        states: list[tuple[Tensor, Tensor] | None] = [None, None]
        generator = torch.Generator().manual_seed(0)
        for frame in range(heard.shape[1]):
            last, states = self._decode(heard[:, frame, None], last, states, generator)
            made.append(last)
        return torch.cat(made, 1)

    def errors(
        self,
        latents: Tensor,
        frames: Tensor,
        log_f0: Tensor,
        voiced: Tensor,
        voice: Voice,
        target: Tensor,
    ) -> Tensor:
        """Take absolute differences, each frame made from the true one before it."""
        del log_f0, voiced, voice
        before = F.pad(target, (0, 0, 1, 0))[:, :-1]
        generator = None if self.training else torch.Generator().manual_seed(0)
        made, _ = self._decode(self.encode(latents, frames), before, [None, None], generator)
        return (made.float() - target).abs()

    def _decode(
        self,
        heard: Tensor,
        before: Tensor,
        states: list[tuple[Tensor, Tensor] | None],
        generator: torch.Generator | None,
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor] | None]]:
        """Make frames `[B, N, D]` of what is heard and the frames before them."""
        x = before
        for layer in self.prenet:
            x = self._drop(F.relu(layer(x)), generator)
        x = torch.cat([heard, x], -1)
        after = []
        lstm: Any
        projection: Any
        for lstm, projection, state in zip(self.decoders, self.projections, states, strict=True):
            project = partial(self._project, projection)
            if self.recurrent_projection:
                x, state = run_projected_lstm(lstm, x, state, project)
            else:
                x, state = lstm(x, state)
                x = project(x)
            after.append(state)
        return self.output(x), after

    def _project(self, projection: nn.Linear, x: Tensor) -> Tensor:
        return torch.tanh(projection(self.decoder_dropout(x)))

    @staticmethod
    def _drop(x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Drop units at random; by a generator the same ones for every item of the batch."""
        if generator is None:
            return F.dropout(x, PRENET_DROPOUT, training=True)
        kept = torch.rand(x.shape[1:], generator=generator) >= PRENET_DROPOUT
        return x * kept.to(x.device) / (1 - PRENET_DROPOUT)
