"""Targets of masked prediction: the nearest cluster of every frame (HuBERT, arXiv 2106.07447)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchaudio.functional import compute_deltas
from torchaudio.transforms import MFCC

from wavcube.lobes.lengths import ceil_division, length_mask
from wavcube.lobes.ssl.encoder import SSLEncoder
from wavcube.metrics.base import require
from wavcube.release.ssl_folder import fill_encoder


class CepstralFeatures(nn.Module):
    """Cepstra with first and second differences, freed of each utterance's mean and scale.

    Parameters
    ----------
    sample_rate, hop : int
        In Hz and samples.
    num_coefficients : int
        Cepstral coefficients, the energy included.

    Examples
    --------
    >>> CepstralFeatures(16000, 320)(torch.randn(2, 3200), torch.tensor([3200, 1600])).shape
    torch.Size([2, 10, 39])
    """

    def __init__(self, sample_rate: int, hop: int, num_coefficients: int = 13) -> None:
        super().__init__()
        self.hop = hop
        self.mfcc = MFCC(
            sample_rate,
            num_coefficients,
            melkwargs={"n_fft": 512, "win_length": 400, "hop_length": hop, "n_mels": 40},
        )

    def forward(self, wavs: Tensor, num_samples: Tensor) -> Tensor:
        """Map `[B, T]` to `[B, ceil(T / hop), 3 * num_coefficients]`."""
        frames = ceil_division(num_samples, self.hop)
        with torch.autocast(wavs.device.type, enabled=False):
            cepstra = self.mfcc(wavs.float())[..., : -(-wavs.shape[1] // self.hop)]
        slope = compute_deltas(cepstra)
        features = torch.cat([cepstra, slope, compute_deltas(slope)], dim=1).transpose(1, 2)
        mask = length_mask(frames, features.shape[1])[..., None]
        count = frames[:, None, None]
        centred = (features - (features * mask).sum(1, keepdim=True) / count) * mask
        return centred / torch.sqrt(centred.square().sum(1, keepdim=True) / count + 1e-5)


class EncoderFeatures(nn.Module):
    """A layer of a frozen encoder, for the second and later rounds.

    Parameters
    ----------
    encoder : SSLEncoder
        Is copied up to the layer.
    layer : int
        Which of its layers, from 1; each frame is brought to zero mean and unit variance.

    Examples
    --------
    >>> from wavcube.testing import tiny_ssl_encoder
    >>> features = EncoderFeatures(tiny_ssl_encoder(), 1)
    >>> features(torch.randn(2, 3200), torch.tensor([3200, 1600])).shape
    torch.Size([2, 10, 16])
    """

    def __init__(self, encoder: SSLEncoder, layer: int) -> None:
        super().__init__()
        settings = {**encoder.config(), "layer": layer}
        self.encoder = SSLEncoder(**settings).eval().requires_grad_(False)
        fill_encoder(self.encoder.model, encoder.model.state_dict(), "the encoder")

    @property
    def hop(self) -> int:
        """Samples between two frames."""
        return self.encoder.hop

    def forward(self, wavs: Tensor, num_samples: Tensor) -> Tensor:
        """Map `[B, T]` to `[B, N, C]`."""
        return self.encoder(wavs, num_samples).feature


class ClusterTargets(nn.Module):
    """Number the frames of speech by their nearest centroid.

    Parameters
    ----------
    features : nn.Module
        (waveforms `[B, T]`, samples `[B]`) to `[B, N, F]`, a frame every `hop` samples.
    num_clusters : int
        Classes K.

    Examples
    --------
    >>> targets = ClusterTargets(CepstralFeatures(16000, 320), num_clusters=4)
    >>> targets.fit([(torch.randn(2, 3200), torch.tensor([3200, 1600]))])
    >>> targets(torch.randn(2, 3200), torch.tensor([3200, 1600])).shape
    torch.Size([2, 10])
    """

    def __init__(self, features: nn.Module, num_clusters: int) -> None:
        super().__init__()
        self.features: Any = features  # any module with a hop
        self.num_clusters = num_clusters
        self.register_buffer("centroids", torch.empty(0))

    @torch.no_grad()
    def fit(self, batches: list[tuple[Tensor, Tensor]], seed: int = 0) -> None:
        """Find the centroids by k-means.

        Parameters
        ----------
        batches : list of (Tensor, Tensor)
            Waveforms `[B, T]` and samples `[B]`.
        seed : int
            Of scikit-learn's k-means.
        """
        require("sklearn", "scikit-learn", "recipes")
        from sklearn.cluster import MiniBatchKMeans

        frames = []
        for wavs, num_samples in batches:
            features = self.features(wavs[:, : int(num_samples.max())], num_samples)
            counts = ceil_division(num_samples, self.features.hop)
            frames.append(features[length_mask(counts, features.shape[1])])
        kmeans = MiniBatchKMeans(
            self.num_clusters, batch_size=10_000, n_init=3, max_iter=100, random_state=seed
        )
        kmeans.fit(torch.cat(frames).float().cpu().numpy())
        self.centroids = torch.from_numpy(kmeans.cluster_centers_).to(frames[0])

    @torch.no_grad()
    def forward(self, wavs: Tensor, num_samples: Tensor) -> Tensor:
        """Map `[B, T]` to classes `[B, N]`, int64; N are the frames of the longest item."""
        features = self.features(wavs[:, : int(num_samples.max())], num_samples).float()
        with torch.autocast(wavs.device.type, enabled=False):
            # |f - c|^2 without the part that all centroids share
            distance = self.centroids.square().sum(1) - 2 * features @ self.centroids.t()
        return distance.argmin(-1)
