"""Short-time Fourier transform of padded batches, and its exact inverse.

Hann window, centred frames. A waveform is continued by silence up to a whole number of hops (and
half a window on both sides), never by its mirror image: then an item's spectrum does not depend
on what it is padded with, and every sample lies between two frames, so that the inverse is exact
to the last sample and none has to be silenced.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wavcube.lobes.configurable import Configurable
from wavcube.lobes.layers.recurrent import run_lstm
from wavcube.lobes.lengths import ceil_division, length_mask, to_absolute

# of an item's root mean square: 80 dB below it
SMALLEST_MAGNITUDE = 1e-4


class Spectrogram(nn.Module):
    """Complex spectra of `[B, T]` and back. It has no parameters.

    Parameters
    ----------
    n_fft : int
        Samples of a window and of its transform.
    hop : int
        Samples from a frame to the next.

    Raises
    ------
    ValueError
        If the hop leaves samples that a window hardly reaches.

    Examples
    --------
    >>> spectrogram = Spectrogram(n_fft=16, hop=8)
    >>> wavs, num_samples = torch.randn(2, 50), torch.tensor([50, 20])
    >>> spectra = spectrogram(wavs, num_samples)
    >>> spectra.shape, spectrogram.num_frames(num_samples)
    (torch.Size([2, 8, 9]), tensor([8, 4]))
    >>> torch.allclose(spectrogram.inverse(spectra, num_samples)[0], wavs[0], atol=1e-6)
    True
    """

    window: Tensor

    def __init__(self, n_fft: int = 512, hop: int = 320) -> None:
        super().__init__()
        if not 1 <= hop <= 3 * n_fft // 4:
            raise ValueError(
                f"hop={hop} must be from 1 to three quarters of n_fft={n_fft}: between frames "
                "further apart the Hann windows leave hardly anything to invert"
            )
        self.n_fft, self.hop = n_fft, hop
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    @property
    def num_bins(self) -> int:
        """Frequencies of a frame."""
        return self.n_fft // 2 + 1

    def num_frames(self, num_samples: Tensor) -> Tensor:
        """Count the frames of items.

        Parameters
        ----------
        num_samples : Tensor
            Samples `[B]`.

        Returns
        -------
        Tensor
            Frames `[B]`: one for every hop that is begun, and one more.
        """
        return ceil_division(num_samples, self.hop) + 1

    def forward(self, wavs: Tensor, num_samples: Tensor) -> Tensor:
        """Transform, in float32 also under autocast.

        Parameters
        ----------
        wavs : Tensor
            `[B, T]`. What lies beyond an item's samples is taken for silence.
        num_samples : Tensor
            Samples `[B]`, at most T.

        Returns
        -------
        Tensor
            Complex `[B, M, num_bins]`, M the longest item's frames; zero after an item's own.
        """
        with torch.autocast(wavs.device.type, enabled=False):
            counts = self.num_frames(num_samples)
            frames = int(counts.max())
            inside = length_mask(num_samples, wavs.shape[1])
            wavs = wavs.float().masked_fill(~inside, 0.0)
            half, total = self.n_fft // 2, (frames - 1) * self.hop + self.n_fft
            wavs = F.pad(wavs, (half, total - half - wavs.shape[1]))
            spectra = torch.fft.rfft(wavs.unfold(1, self.n_fft, self.hop) * self.window)
            return spectra.masked_fill(~length_mask(counts, frames)[..., None], 0.0)

    def inverse(self, spectra: Tensor, num_samples: Tensor) -> Tensor:
        """Find the waveforms whose windowed frames come closest to given ones.

        Overlap-add with the window once more, divided by the sum of its squares (Griffin and Lim,
        "Signal estimation from modified short-time Fourier transform", 1984, eq. 6).

        Parameters
        ----------
        spectra : Tensor
            Complex `[B, M, num_bins]`.
        num_samples : Tensor
            Samples `[B]`.

        Returns
        -------
        Tensor
            `[B, T]`, T the longest item's samples; exactly zero after an item's own.

        Raises
        ------
        ValueError
            If there are fewer frames than the samples need.
        """
        counts = self.num_frames(num_samples)
        frames, size = spectra.shape[1], int(num_samples.max())
        if frames < int(counts.max()):
            raise ValueError(f"{size} samples have {int(counts.max())} frames, not {frames}")
        valid = length_mask(counts, frames)[..., None]
        # silence of the padded frames, also in the sum of squares: as if the item were alone
        pieces = torch.fft.irfft(spectra, self.n_fft).masked_fill(~valid, 0.0) * self.window
        squares = valid * self.window.square()
        half = self.n_fft // 2
        wavs, weights = (self._overlap_add(x)[:, half : half + size] for x in (pieces, squares))
        inside = length_mask(num_samples, size)
        return torch.where(inside, wavs / weights.masked_fill(~inside, 1.0), 0.0)

    def _overlap_add(self, frames: Tensor) -> Tensor:
        """Add `[B, M, n_fft]` at steps of a hop: `[B, (M - 1) * hop + n_fft]`."""
        total = (frames.shape[1] - 1) * self.hop + self.n_fft
        folded = F.fold(
            frames.transpose(1, 2), (1, total), kernel_size=(1, self.n_fft), stride=(1, self.hop)
        )
        return folded[:, 0, 0]


def log_magnitudes(spectra: Tensor, counts: Tensor) -> Tensor:
    """Give the log-magnitudes of each item with mean 0 and variance 1 over all its bins.

    The item's level is taken out first: how loud a recording is changes nothing.

    Parameters
    ----------
    spectra : Tensor
        Complex `[B, M, F]`, zero after an item's own frames.
    counts : Tensor
        Frames of each item `[B]`.

    Returns
    -------
    Tensor
        `[B, M, F]`, zero after an item's own frames; zero everywhere for silence.

    Examples
    --------
    >>> spectra = torch.tensor([[[1.0 + 0j, 100.0], [1.0, 100.0], [0.0, 0.0]]])
    >>> log_magnitudes(spectra, torch.tensor([2]))[0].round().tolist()
    [[-1.0, 1.0], [-1.0, 1.0], [0.0, 0.0]]
    """
    valid = length_mask(counts, spectra.shape[1])[..., None]
    bins = (counts * spectra.shape[2])[:, None, None]

    def mean(values: Tensor) -> Tensor:
        return values.masked_fill(~valid, 0.0).sum(dim=(1, 2), keepdim=True) / bins

    magnitudes = spectra.abs()
    level = mean(magnitudes.square()).sqrt().clamp(min=1e-8)
    logs = (magnitudes / level / SMALLEST_MAGNITUDE).log1p()
    logs = logs - mean(logs)
    spread = mean(logs.square()).sqrt().clamp(min=1e-3)
    return (logs / spread).masked_fill(~valid, 0.0)


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
