"""Losses of every estimated source with every true one, to be assigned afterwards."""

from __future__ import annotations

import importlib
from types import ModuleType

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from wavcube.lobes.lengths import length_mask
from wavcube.losses.combine import zero_padding
from wavcube.losses.mel import LogMelSpectrogram


def asteroid_losses() -> ModuleType:
    """Import asteroid's losses.

    Raises
    ------
    ImportError
        If asteroid is missing; in one line.
    """
    try:
        return importlib.import_module("asteroid.losses")
    except ImportError as error:
        raise ImportError(
            f"separation needs asteroid: pip install 'wavcube[eval]' ({error})"
        ) from error


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
    pairwise_neg_sisdr = asteroid_losses().pairwise_neg_sisdr
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


def best_assignment(pairwise: Tensor) -> Tensor:
    """Find the assignment that costs least.

    Parameters
    ----------
    pairwise : Tensor
        Loss of every estimate with every target, `[B, S, S]`.

    Returns
    -------
    Tensor
        For each target the place of its estimate, `[B, S]`. With one source nothing is assigned.

    Raises
    ------
    ImportError
        If there are several sources and asteroid is missing.

    Examples
    --------
    >>> best_assignment(torch.tensor([[[9.0, 1.0], [2.0, 9.0]]]))
    tensor([[1, 0]])
    """
    if pairwise.shape[1] == 1:
        return pairwise.new_zeros(pairwise.shape[:2], dtype=torch.long)
    wrapper = asteroid_losses().PITLossWrapper
    # its products would be taken in 16 bits, and a close second assignment for the best
    with torch.autocast(pairwise.device.type, enabled=False), torch.no_grad():
        return wrapper.find_best_perm(pairwise.float())[1]


def assigned(pairwise: Tensor, assignment: Tensor) -> Tensor:
    """Average the losses of an assignment over sources and items.

    Parameters
    ----------
    pairwise : Tensor
        `[B, S, S]`, estimates by targets.
    assignment : Tensor
        Of :func:`best_assignment`, `[B, S]`.

    Returns
    -------
    Tensor
        Scalar.

    Examples
    --------
    >>> assigned(torch.tensor([[[9.0, 1.0], [2.0, 9.0]]]), torch.tensor([[1, 0]]))
    tensor(1.5000)
    """
    return pairwise.transpose(1, 2).gather(2, assignment[..., None]).mean()


def permutation_invariant(pairwise: Tensor) -> Tensor:
    """Average the losses of the best assignment over sources and items.

    Parameters
    ----------
    pairwise : Tensor
        Loss of every estimate with every target, `[B, S, S]`.

    Returns
    -------
    Tensor
        Scalar.

    Raises
    ------
    ImportError
        If there are several sources and asteroid is missing.

    Examples
    --------
    >>> permutation_invariant(torch.tensor([[[9.0, 1.0], [2.0, 9.0]]]))
    tensor(1.5000)
    """
    return assigned(pairwise, best_assignment(pairwise))


def phase_sensitive_target(mixture: Tensor, targets: Tensor) -> Tensor:
    """Magnitude of each target as far as it points along the mixture: |S| max(0, cos(dphase)).

    Parameters
    ----------
    mixture : Tensor
        Complex spectra `[B, M, F]`.
    targets : Tensor
        Complex spectra `[B, S, M, F]`.

    Returns
    -------
    Tensor
        `[B, S, M, F]`, not negative.

    Examples
    --------
    >>> import torch
    >>> mixture = torch.tensor([[[2.0 + 0j, 1j, 1j]]])
    >>> phase_sensitive_target(mixture, torch.tensor([[[[3.0 + 4j, 1.0 + 0j, -1j]]]]))
    tensor([[[[3., 0., 0.]]]])
    """
    # |S| cos(phase of S - phase of Y) = Re(S conj(Y)) / |Y|, without an angle and its gradient
    direction = mixture / mixture.abs().clamp(min=1e-12)
    return (targets * direction.conj()[:, None]).real.relu()


def pairwise_phase_sensitive(
    masks: Tensor, targets: Tensor, *, magnitude: Tensor, num_frames: Tensor
) -> Tensor:
    """Compare every masked mixture with every target.

    Parameters
    ----------
    masks : Tensor
        `[B, S, M, F]`.
    targets : Tensor
        Of :func:`phase_sensitive_target`, `[B, S, M, F]`.
    magnitude : Tensor
        Of the mixture, `[B, M, F]`.
    num_frames : Tensor
        Valid frames of each item `[B]`; masks, targets and magnitude are zero after them.

    Returns
    -------
    Tensor
        `[B, S, S]`, estimates by targets: squared error summed over time and frequency, divided by
        the frames.

    Examples
    --------
    >>> import torch
    >>> masks, targets = torch.ones(1, 1, 2, 3), torch.zeros(1, 1, 2, 3)
    >>> settings = {"magnitude": torch.full((1, 2, 3), 2.0), "num_frames": torch.tensor([2])}
    >>> pairwise_phase_sensitive(masks, targets, **settings)
    tensor([[[12.]]])
    """
    estimates = masks * magnitude[:, None]
    errors = (estimates[:, :, None] - targets[:, None]).square().sum(dim=(3, 4))
    return errors / num_frames[:, None, None]


def phase_sensitive_loss(
    masks: Tensor, mixture: Tensor, targets: Tensor, num_frames: Tensor
) -> Tensor:
    """Loss of the best assignment of masks to targets, for each item as a whole.

    The mean over items of: squared error summed over time and frequency, divided by the item's
    frames and the sources. Which mask belongs to which target is found by
    :func:`~wavcube.losses.separation.permutation_invariant`.

    Parameters
    ----------
    masks : Tensor
        `[B, S, M, F]`.
    mixture : Tensor
        Complex spectra `[B, M, F]`.
    targets : Tensor
        Complex spectra `[B, S, M, F]`.
    num_frames : Tensor
        Valid frames of each item `[B]`; spectra and masks are zero after them.

    Returns
    -------
    Tensor
        Scalar.

    Raises
    ------
    ImportError
        If there are several sources and asteroid is missing.

    Examples
    --------
    >>> import torch
    >>> mixture = torch.tensor([[[2.0 + 0j]]])
    >>> targets, masks = torch.tensor([[[[1.0 + 1j]]]]), torch.tensor([[[[1.0]]]])
    >>> phase_sensitive_loss(masks, mixture, targets, torch.tensor([1]))
    tensor(1.)
    """
    target = phase_sensitive_target(mixture, targets)
    settings = {"magnitude": mixture.abs(), "num_frames": num_frames}
    return permutation_invariant(pairwise_phase_sensitive(masks, target, **settings))
