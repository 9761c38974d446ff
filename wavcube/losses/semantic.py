"""Distance of a predicted feature sequence to an SSL encoder's feature sequence.

The same criterion serves twice in WavCube (arXiv 2605.06407): the bottleneck's reconstruction of
the feature (stages 1 and 2) and the anchoring of the trained encoder to its frozen teacher (stage
2).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from wavcube.losses.combine import masked_mean, zero_padding


def semantic_loss(feature_hat: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared error plus one minus the mean cosine similarity, over valid frames.

    Computed in float32 whatever autocast says: squared differences of features of magnitude 100
    lose their small part in 16 bits.

    Parameters
    ----------
    feature_hat : Tensor
        Predicted features, ``[B, N, C]``.
    target : Tensor
        Features to reach, ``[B, N, C]``. Detach them (or compute them without gradients) if they
        come from a teacher.
    mask : Tensor, optional
        Bool ``[B, N]``, True for valid frames. What stands in the other frames, NaN included,
        changes neither the loss nor its gradient.

    Returns
    -------
    Tensor
        Scalar, float32; zero for equal features.

    Raises
    ------
    ValueError
        If the two sequences differ in shape or the mask does not fit them.

    Examples
    --------
    >>> import torch
    >>> up, right = torch.tensor([[[0.0, 1.0]]]), torch.tensor([[[1.0, 0.0]]])
    >>> semantic_loss(up, right)  # MSE 1 and cosine 0
    tensor(2.)
    """
    if feature_hat.shape != target.shape or feature_hat.dim() != 3:
        raise ValueError(
            f"expected two feature sequences of the same shape [B, N, C], got "
            f"{tuple(feature_hat.shape)} and {tuple(target.shape)}"
        )
    with torch.autocast(feature_hat.device.type, enabled=False):
        feature_hat, target = feature_hat.float(), target.float()
        if mask is not None:
            feature_hat, target = zero_padding(feature_hat, mask), zero_padding(target, mask)
        squared = (feature_hat - target).square().mean(dim=-1)
        cosine = cosine_similarity(feature_hat, target, dim=-1)
        return masked_mean(squared, mask) + 1.0 - masked_mean(cosine, mask)
