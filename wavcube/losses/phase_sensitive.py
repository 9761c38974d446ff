"""Phase-sensitive loss of masks, and its permutation-invariant form.

Erdogan et al., "Phase-sensitive and recognition-boosted speech separation using deep recurrent
neural networks" (2015); non-negative as in Kolbaek et al., "Multi-talker speech separation with
utterance-level permutation invariant training" (arXiv 1703.06284), which SUPERB-SG trains with.
"""

from __future__ import annotations

from torch import Tensor

from wavcube.losses.permutation import permutation_invariant


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
    :func:`~wavcube.losses.permutation.permutation_invariant`.

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
