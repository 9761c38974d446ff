"""SpecAugment on features (arXiv 1904.08779), each item within its own length."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SpecAugment(nn.Module):
    """Warp time a little, then silence some runs of frames and of feature dimensions.

    The defaults are those of SUPERB's recognition (arXiv 2105.01051), meant for features of 768
    dimensions; see :meth:`scaled` for others. In eval mode nothing is done.

    Parameters
    ----------
    time_masks : int
        Runs of frames.
    time_width : int
        A run is shorter than this.
    feature_masks : int
        Runs of dimensions.
    feature_width : int
        A run is shorter than this.
    warp : int
        Frames by which a point of an item is moved at most; 0 moves none. Items of no more than
        twice as many frames are not warped.

    Examples
    --------
    >>> augment = SpecAugment(feature_masks=0, warp=0, time_masks=1, time_width=2)
    >>> features = augment(torch.ones(1, 8, 3), torch.tensor([8]))
    >>> int((features == 0).all(2).sum()) in (0, 1)
    True
    """

    def __init__(
        self,
        time_masks: int = 2,
        time_width: int = 40,
        feature_masks: int = 4,
        feature_width: int = 50,
        warp: int = 5,
    ) -> None:
        super().__init__()
        self.time_masks, self.time_width = time_masks, time_width
        self.feature_masks, self.feature_width = feature_masks, feature_width
        self.warp = warp

    @classmethod
    def scaled(cls, dim: int) -> SpecAugment:
        """Give SUPERB's, with feature masks that take the same share of a narrower width.

        Unscaled ones would leave little of a narrow latent, and nothing of the smallest.

        Parameters
        ----------
        dim : int
            Width of the representation.

        Returns
        -------
        SpecAugment
            With the default counts.
        """
        # at least 2, since a width is drawn below it
        return cls(feature_width=max(2, min(50, round(50 * dim / 768))))

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Augment.

        Parameters
        ----------
        features : Tensor
            `[B, N, C]`; is not changed.
        lengths : Tensor
            Frames `[B]`.

        Returns
        -------
        Tensor
            `[B, N, C]`.
        """
        if not self.training:
            return features
        items = []
        for item, length in zip(features, lengths.tolist(), strict=True):
            valid = self._warp(item[:length])
            times = _runs(length, self.time_masks, self.time_width, item.device)
            dims = _runs(item.shape[1], self.feature_masks, self.feature_width, item.device)
            valid = valid.masked_fill(times[:, None] | dims[None], 0.0)
            items.append(torch.cat([valid, item[length:]]))
        return torch.stack(items)

    def _warp(self, item: Tensor) -> Tensor:
        """Move one frame, and stretch what is before and after it accordingly."""
        size = len(item)
        if not self.warp or size <= 2 * self.warp:
            return item
        centre = int(torch.randint(self.warp, size - self.warp, ()))
        target = int(torch.randint(centre - self.warp, centre + self.warp, ())) + 1
        return torch.cat([_stretch(item[:centre], target), _stretch(item[centre:], size - target)])


def _stretch(item: Tensor, size: int) -> Tensor:
    """Interpolate `[N, C]` to `[size, C]`, cubic along time."""
    shape = (size, item.shape[1])
    return F.interpolate(item[None, None], shape, mode="bicubic", align_corners=False)[0, 0]


def _runs(size: int, count: int, width: int, device: torch.device) -> Tensor:
    """Mark runs of positions `[size]`; each width is drawn from 0 to width - 1."""
    if not count:
        return torch.zeros(size, dtype=torch.bool, device=device)
    widths = torch.randint(0, width, (count, 1), device=device)
    starts = torch.randint(0, max(1, size - int(widths.max())), (count, 1), device=device)
    positions = torch.arange(size, device=device)[None]
    return ((positions >= starts) & (positions < starts + widths)).any(0)
