"""A WavLM that reads log-mel energies instead of the waveform.

A learned convolutional front end must first rediscover the spectrum; at a small size that is what
holds the reconstruction back. Everything behind the front end is transformers' WavLM.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchaudio.functional import melscale_fbanks
from transformers import WavLMConfig, WavLMModel


class FilterBankWavLMConfig(WavLMConfig):
    """WavLM's configuration plus the filter bank.

    Parameters
    ----------
    num_mel_bins : int
        Mel bands of one 10 ms frame.
    stacked_frames : int
        10 ms frames in one frame of the encoder.
    attention_window : int, optional
        Frames that attention sees to each side; by default all, as WavLM.
    **kwargs
        transformers' WavLMConfig.

    Examples
    --------
    >>> FilterBankWavLMConfig(num_mel_bins=4, stacked_frames=2).conv_dim
    [8]
    """

    model_type = "filterbank_wavlm"

    def __init__(
        self,
        num_mel_bins: int = 100,
        stacked_frames: int = 2,
        attention_window: int | None = None,
        **kwargs: Any,  # noqa: ANN401 - as transformers has them
    ) -> None:
        # the front end stands where WavLM has convolutions: one "layer" of this width and stride
        kwargs.update(
            conv_dim=[num_mel_bins * stacked_frames],
            conv_kernel=[640],
            conv_stride=[160 * stacked_frames],
            num_feat_extract_layers=1,
            feat_extract_norm="layer",
            do_stable_layer_norm=True,
        )
        super().__init__(**kwargs)
        self.num_mel_bins, self.stacked_frames = num_mel_bins, stacked_frames
        self.attention_window = attention_window


class LogMelFrontEnd(nn.Module):
    """Log-mel energies, centred in their 10 ms frames and stacked to the encoder's rate.

    Frame k of 10 ms sees a 40 ms Hann window around its own centre, so T samples give exactly
    ceil(T / 160) of them. The level is kept: nothing is normalised but by two constants.

    Parameters
    ----------
    num_mel_bins, stacked_frames : int
        See :class:`FilterBankWavLMConfig`.
    sample_rate, hop, window, n_fft : int
        In Hz and samples.

    Examples
    --------
    >>> LogMelFrontEnd(num_mel_bins=4)(torch.randn(3, 640)).shape
    torch.Size([3, 2, 8])
    """

    # mean and spread of the log energy of speech at a peak of -3 dB: keeps the input near unit size
    CENTRE, SPREAD, FLOOR = -3.0, 3.0, 1e-5

    window: Tensor
    bank: Tensor

    def __init__(
        self,
        num_mel_bins: int = 100,
        stacked_frames: int = 2,
        sample_rate: int = 16000,
        hop: int = 160,
        window: int = 640,
        n_fft: int = 1024,
    ) -> None:
        super().__init__()
        self.stacked_frames, self.hop, self.window_size, self.n_fft = (
            stacked_frames,
            hop,
            window,
            n_fft,
        )
        # constants of the sizes, not weights: rebuilt, never saved
        self.register_buffer("window", torch.hann_window(window), persistent=False)
        bank = melscale_fbanks(n_fft // 2 + 1, 0.0, sample_rate / 2, num_mel_bins, sample_rate)
        self.register_buffer("bank", bank, persistent=False)

    def forward(self, wavs: Tensor) -> Tensor:
        """Analyse.

        Parameters
        ----------
        wavs : Tensor
            `[B, T]`, T a multiple of the encoder's hop.

        Returns
        -------
        Tensor
            `[B, T / hop / stacked_frames, num_mel_bins * stacked_frames]`, float32.
        """
        side = (self.window_size - self.hop) // 2
        with torch.autocast(wavs.device.type, enabled=False):
            frames = F.pad(wavs.float(), (side, side)).unfold(-1, self.window_size, self.hop)
            magnitude = torch.fft.rfft(frames * self.window, n=self.n_fft).abs()
            energies = torch.log((magnitude @ self.bank).clamp(min=self.FLOOR))
            normalised = (energies - self.CENTRE) / self.SPREAD
        return normalised.unflatten(1, (-1, self.stacked_frames)).flatten(2)


class FilterBankProjection(nn.Module):
    """Linear input layer in WavLM's place of it, without the LayerNorm that would lose the level.

    Parameters
    ----------
    config : FilterBankWavLMConfig
        Sizes.
    """

    def __init__(self, config: FilterBankWavLMConfig) -> None:
        super().__init__()
        self.projection = nn.Linear(config.conv_dim[-1], config.hidden_size)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Project `[B, N, F]` to `[B, N, C]`; the second result is the input, as in WavLM."""
        return self.projection(features), features


class FilterBankWavLM(WavLMModel):
    """transformers' WavLMModel on a log-mel front end.

    Parameters
    ----------
    config : FilterBankWavLMConfig
        Sizes.

    Examples
    --------
    >>> config = FilterBankWavLMConfig(num_mel_bins=4, hidden_size=8, num_hidden_layers=1,
    ...     num_attention_heads=2, intermediate_size=16, num_conv_pos_embeddings=4,
    ...     num_conv_pos_embedding_groups=2)
    >>> FilterBankWavLM(config).feature_projection.projection.in_features
    8
    """

    config_class = FilterBankWavLMConfig
    feature_extractor: Any
    feature_projection: Any

    def __init__(self, config: FilterBankWavLMConfig) -> None:
        super().__init__(config)
        self.feature_extractor = LogMelFrontEnd(config.num_mel_bins, config.stacked_frames)
        self.feature_projection = FilterBankProjection(config)
