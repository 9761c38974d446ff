"""A head that classifies a whole utterance: a linear map, the mean over time, a linear map."""

from __future__ import annotations

from torch import Tensor, nn

from wavcube.lobes.configurable import Configurable
from wavcube.lobes.lengths import length_mask, to_absolute


class MeanPoolHead(Configurable):
    """SUPERB's classifier of utterances (arXiv 2105.01051): project, take the mean, classify.

    Parameters
    ----------
    dim : int
        Width of the representation.
    num_labels : int
        Classes.
    projected_dim : int
        Width of the mean.

    Examples
    --------
    >>> import torch
    >>> MeanPoolHead(8, num_labels=3)(torch.randn(2, 10, 8), torch.tensor([1.0, 0.5])).shape
    torch.Size([2, 3])
    """

    def __init__(self, dim: int, num_labels: int, projected_dim: int = 256) -> None:
        super().__init__()
        self.dim, self.num_labels = dim, num_labels
        self.projection = nn.Linear(dim, projected_dim)
        self.output = nn.Linear(projected_dim, num_labels)

    def forward(self, features: Tensor, lens: Tensor | None = None) -> Tensor:
        """Classify.

        Parameters
        ----------
        features : Tensor
            `[B, N, C]`.
        lens : Tensor, optional
            Relative lengths `[B]`; what lies beyond them does not count.

        Returns
        -------
        Tensor
            Logits `[B, K]`.
        """
        frames = to_absolute(lens, features.shape[1], len(features), features.device)
        valid = length_mask(frames, features.shape[1])[..., None]
        projected = self.projection(features).where(valid, 0.0)
        return self.output(projected.sum(1) / frames[:, None])
