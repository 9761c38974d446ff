"""The mask head of SUPERB-SG: features to masks on the spectrogram of the mixture.

Tsai et al., "SUPERB-SG" (arXiv 2203.06849), for enhancement (one source) and separation: three
bidirectional LSTM layers of 896 units with dropout 0.5, a Linear for each source, ReLU.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wavcube.lobes.configurable import Configurable
from wavcube.lobes.layers.recurrent import run_lstm
from wavcube.lobes.layers.spectrogram import Spectrogram, log_magnitudes
from wavcube.lobes.lengths import length_mask, to_absolute


class MaskHead(Configurable):
    """Estimate a mask for each source, and apply masks to a mixture.

    Features are brought to the spectrogram's frames by linear interpolation in time: frame m, m
    hops into the waveform, takes the features at position m * hop / stride. With the hop equal to
    the stride, SUPERB-SG's setting, that is feature m itself. After the last feature it is
    repeated (SUPERB-SG appends zeros; the two differ in the last frame or two).

    Parameters
    ----------
    input_dim : int
        Width C of the features.
    stride : int
        Samples of a feature frame, the representation's hop.
    num_sources : int
        Masks for a frame.
    hidden_dim : int
        Units of an LSTM layer in each direction.
    num_layers : int
        LSTM layers.
    dropout : float
        Between the layers and after the last.
    n_fft : int
        Samples of a window.
    hop : int, optional
        Samples between the spectrogram's frames; by default the stride.
    with_spectrum : bool
        Append the mixture's own log-magnitudes to the features. SUPERB does not: it compares
        features.
    activation : {"relu", "softmax"}
        What makes masks of the output: SUPERB's, or the sources' shares in each bin, whose sum is
        one, so that the sources add up to the mixture.

    Raises
    ------
    ValueError
        If the hop is too long for the window, the activation is another, or there is a single
        source to share bins with nobody.

    Examples
    --------
    >>> head = MaskHead(input_dim=8, stride=320, num_sources=2, hidden_dim=4, num_layers=1).eval()
    >>> wavs, num_samples = torch.randn(3, 1600), torch.tensor([1600, 900, 400])
    >>> masks = head(torch.randn(3, 5, 8), num_samples, torch.tensor([1.0, 0.6, 0.4]))
    >>> masks.shape
    torch.Size([3, 2, 6, 257])
    >>> head.separate(wavs, num_samples, masks).shape
    torch.Size([3, 2, 1600])
    """

    def __init__(
        self,
        input_dim: int,
        stride: int,
        num_sources: int = 1,
        hidden_dim: int = 896,
        num_layers: int = 3,
        dropout: float = 0.5,
        n_fft: int = 512,
        hop: int | None = None,
        with_spectrum: bool = False,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        if activation not in ("relu", "softmax") or (activation == "softmax" and num_sources == 1):
            raise ValueError(
                f"activation {activation!r} for {num_sources} sources: take 'relu', or 'softmax' "
                "for several"
            )
        self.activation = activation
        self.input_dim, self.stride, self.num_sources = input_dim, stride, num_sources
        self.spectrogram = Spectrogram(n_fft, stride if hop is None else hop)
        self.record(hop=self.spectrogram.hop)
        self.with_spectrum = with_spectrum
        self.lstm = nn.LSTM(
            input_dim + (self.spectrogram.num_bins if with_spectrum else 0),
            hidden_dim,
            num_layers,
            batch_first=True,
            # between layers: PyTorch warns when there is nothing between
            dropout=dropout if num_layers > 1 else 0.0,
            bidirectional=True,
        )
        self.dropout = nn.Dropout(dropout)
        # one Linear for all sources is the same as one for each
        self.output = nn.Linear(2 * hidden_dim, num_sources * self.spectrogram.num_bins)

    def forward(
        self,
        features: Tensor,
        num_samples: Tensor,
        lens: Tensor | None = None,
        wavs: Tensor | None = None,
    ) -> Tensor:
        """Estimate masks.

        Parameters
        ----------
        features : Tensor
            `[B, N, C]`, of the mixture. What lies beyond an item's length is ignored.
        num_samples : Tensor
            Samples of each item's mixture `[B]`.
        lens : Tensor, optional
            Relative lengths of the features `[B]`; by default every item fills the batch.
        wavs : Tensor, optional
            The mixtures `[B, T]`; needed by a head with the spectrum, and by no other.

        Returns
        -------
        Tensor
            Masks `[B, S, M, F]`, not negative, float32; zero after an item's own frames.

        Raises
        ------
        ValueError
            If the features are not `[B, N, C]` of the head's width, or mixtures that are needed
            are missing.
        """
        if features.dim() != 3 or features.shape[2] != self.input_dim:
            raise ValueError(
                f"features must be [batch, frames, {self.input_dim}], got {list(features.shape)}"
            )
        counts = to_absolute(lens, features.shape[1], len(features), features.device)
        frames = self.spectrogram.num_frames(num_samples)
        x = self.to_spectrogram_frames(features, counts, int(frames.max()))
        if self.with_spectrum:
            if wavs is None:
                raise ValueError("a head with the spectrum needs the mixtures (wavs) too")
            x = torch.cat([x, log_magnitudes(self.spectrogram(wavs, num_samples), frames)], dim=2)
        hidden = run_lstm(self.lstm, x, frames)
        found = self.output(self.dropout(hidden)).float().unflatten(2, (self.num_sources, -1))
        masks = found.relu() if self.activation == "relu" else found.softmax(dim=2)
        inside = length_mask(frames, masks.shape[1])[..., None, None]
        return masks.masked_fill(~inside, 0.0).transpose(1, 2)

    def to_spectrogram_frames(self, features: Tensor, counts: Tensor, frames: int) -> Tensor:
        """Interpolate features to the frames of the spectrogram.

        Parameters
        ----------
        features : Tensor
            `[B, N, C]`.
        counts : Tensor
            Valid frames of each item `[B]`.
        frames : int
            Frames M wanted.

        Returns
        -------
        Tensor
            `[B, M, C]`; nothing beyond an item's own frames enters it.
        """
        steps = torch.arange(frames, device=features.device)
        # whole numbers first: a float32 position is wrong by a frame after some hours
        below = (steps * self.spectrogram.hop).div(self.stride, rounding_mode="floor")
        weight = (steps * self.spectrogram.hop % self.stride) / self.stride
        last = counts[:, None] - 1
        first, second = (torch.minimum(place[None], last) for place in (below, below + 1))
        width = (-1, -1, features.shape[2])
        early, late = (features.gather(1, at[..., None].expand(width)) for at in (first, second))
        return torch.lerp(early, late, weight[None, :, None].to(features.dtype))

    def separate(self, wavs: Tensor, num_samples: Tensor, masks: Tensor) -> Tensor:
        """Apply masks to the mixture's spectrum and go back with the mixture's phase.

        Parameters
        ----------
        wavs : Tensor
            Mixtures `[B, T]`.
        num_samples : Tensor
            Samples of each `[B]`.
        masks : Tensor
            `[B, S, M, F]`.

        Returns
        -------
        Tensor
            Sources `[B, S, T]`, exactly as long as the mixtures; zero after an item's own samples.
        """
        spectra = self.spectrogram(wavs, num_samples)[:, None] * masks
        sources = self.num_sources
        separated = self.spectrogram.inverse(
            spectra.flatten(0, 1), num_samples.repeat_interleave(sources)
        )
        # a batch may be padded beyond its longest item
        separated = nn.functional.pad(separated, (0, wavs.shape[1] - separated.shape[1]))
        return separated.unflatten(0, (-1, sources))
