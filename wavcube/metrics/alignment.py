"""Dynamic time warping of two sequences."""

from __future__ import annotations

import numpy as np

from wavcube.metrics.base import require

# of equally cheap ones the first is taken
_STEPS = np.array([[1, 1], [1, 0], [0, 1]])


def warping_path(cost: np.ndarray) -> np.ndarray:
    """Find the cheapest monotonic alignment of two sequences (Sakoe and Chiba 1978).

    Steps go one frame ahead in either sequence or in both, at equal weight.

    Parameters
    ----------
    cost : ndarray
        Cost of matching frame n of one sequence with frame m of the other, ``[N, M]``.

    Returns
    -------
    ndarray
        Pairs of frames from ``(0, 0)`` to ``(N - 1, M - 1)``, ``[P, 2]``.

    Raises
    ------
    ValueError
        If the cost is not a matrix with at least one entry.
    TechnicalError
        If librosa is missing.

    Examples
    --------
    >>> import numpy as np
    >>> first, second = np.array([1, 2, 3]), np.array([1, 1, 3])
    >>> warping_path(abs(first[:, None] - second)).tolist()
    [[0, 0], [1, 1], [2, 2]]
    """
    if cost.ndim != 2 or cost.size == 0:
        raise ValueError(f"expected a cost matrix [N, M] with N, M >= 1, got shape {cost.shape}")
    librosa = require("librosa", "librosa")
    return librosa.sequence.dtw(C=cost, step_sizes_sigma=_STEPS)[1][::-1]
