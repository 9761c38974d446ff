"""Losses of every estimated source with every true one, to be assigned afterwards."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from wavcube.lobes.lengths import length_mask
from wavcube.losses.masking import zero_padding
from wavcube.losses.mel import LogMelSpectrogram


def pairwise_si_sdr(estimates: Tensor, targets: Tensor, num_samples: Tensor) -> Tensor:
    """Negative SI-SDR of waveforms, by asteroid's `pairwise_neg_sisdr`.

    Parameters
    ----------
    estimates, targets : Tensor
        `[B, S, T]`. What lies beyond an item's samples is ignored.
    num_samples : Tensor
        Samples of each item `[B]`.

    Returns
    -------
    Tensor
        `[B, S, S]` in dB, estimates by targets.

    Raises
    ------
    ImportError
        If asteroid is missing.

    Examples
    --------
    >>> sources = torch.randn(1, 2, 100)
    >>> table = pairwise_si_sdr(sources.flip(1), sources, torch.tensor([100]))
    >>> table[0, 0, 1] < -60, table[0, 0, 0] > -10
    (tensor(True), tensor(True))
    """
    try:
        from asteroid.losses import pairwise_neg_sisdr
    except ImportError as error:
        raise ImportError(
            f"separation needs asteroid: pip install 'wavcube[eval]' ({error})"
        ) from error
    estimates, targets = estimates.float(), targets.float()
    sizes = num_samples.tolist()
    if len(set(sizes)) == 1:
        return pairwise_neg_sisdr(estimates[..., : sizes[0]], targets[..., : sizes[0]])
    # means and powers are those of an item's own samples
    items = [
        pairwise_neg_sisdr(estimate[None, :, :size], target[None, :, :size])
        for estimate, target, size in zip(estimates, targets, sizes, strict=True)
    ]
    return torch.cat(items)


def pairwise_mel(
    log_mel: LogMelSpectrogram, estimates: Tensor, targets: Tensor, num_samples: Tensor
) -> Tensor:
    """Mean absolute difference of log-mel spectrograms of waveforms.

    The distance of :class:`~wavcube.losses.mel.MelLoss`, for each pair.

    Parameters
    ----------
    log_mel : LogMelSpectrogram
        Of the waveforms' rate.
    estimates, targets : Tensor
        `[B, S, T]`. What lies beyond an item's samples is ignored.
    num_samples : Tensor
        Samples of each item `[B]`.

    Returns
    -------
    Tensor
        `[B, S, S]` in nepers, estimates by targets, float32.

    Examples
    --------
    >>> sources = torch.randn(1, 2, 1600)
    >>> log_mel = LogMelSpectrogram(16000)
    >>> table = pairwise_mel(log_mel, sources, sources.flip(1), torch.tensor([1600]))
    >>> bool(table[0, 0, 1] == 0), bool(table[0, 0, 0] > 0.1)
    (True, True)
    """
    count = estimates.shape[1]
    samples = num_samples.repeat_interleave(count)
    first, second = (
        log_mel(wavs.flatten(0, 1), samples).unflatten(0, (-1, count))
        for wavs in (estimates, targets)
    )
    distance = (first[:, :, None] - second[:, None]).abs().mean(dim=-2)
    frames = log_mel.num_frames(num_samples)
    valid = length_mask(frames, distance.shape[-1])[:, None, None]
    return distance.where(valid, 0.0).sum(dim=-1) / valid.sum(dim=-1)


def pairwise_latent(estimates: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Distance of latents: mean squared error plus one minus the mean cosine similarity.

    The criterion of :func:`~wavcube.losses.semantic.semantic_loss`, for each pair.

    Parameters
    ----------
    estimates, targets : Tensor
        `[B, S, N, D]`.
    mask : Tensor
        Bool `[B, N]`, True for valid frames. What stands in the others changes nothing.

    Returns
    -------
    Tensor
        `[B, S, S]`, estimates by targets, float32.

    Examples
    --------
    >>> up, right = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])
    >>> sources = torch.stack([up, right])[None, :, None]
    >>> pairwise_latent(sources, sources, torch.ones(1, 1, dtype=torch.bool))
    tensor([[[0., 2.],
             [2., 0.]]])
    """
    with torch.autocast(estimates.device.type, enabled=False):
        count = estimates.shape[1]
        inside = mask.repeat_interleave(count, dim=0)
        first, second = (
            zero_padding(latents.float().flatten(0, 1), inside).unflatten(0, (-1, count))
            for latents in (estimates, targets)
        )
        first, second = first[:, :, None], second[:, None]
        squared = (first - second).square().mean(dim=-1)
        distance = squared + 1.0 - cosine_similarity(first, second, dim=-1)
        valid = mask[:, None, None]
        return distance.where(valid, 0.0).sum(dim=-1) / valid.sum(dim=-1).clamp(min=1)
