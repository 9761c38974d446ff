"""Dynamic time warping of two sequences."""

from __future__ import annotations

import numpy as np


def warping_path(cost: np.ndarray) -> np.ndarray:
    """Find the cheapest monotonic alignment of two sequences (Sakoe and Chiba 1978).

    Steps go one frame ahead in either sequence or in both, at equal weight. Anti-diagonals are
    filled at once, so that the time is that of N + M vector operations.

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

    Examples
    --------
    >>> import numpy as np
    >>> first, second = np.array([1, 2, 3]), np.array([1, 1, 3])
    >>> warping_path(abs(first[:, None] - second)).tolist()
    [[0, 0], [1, 1], [2, 2]]
    """
    if cost.ndim != 2 or cost.size == 0:
        raise ValueError(f"expected a cost matrix [N, M] with N, M >= 1, got shape {cost.shape}")
    rows, columns = cost.shape
    # total[d, n + 1]: cheapest way to (n, d - n). Index 0 stands for n = -1, which is nowhere.
    total = np.full((rows + columns - 1, rows + 1), np.inf)
    total[0, 1] = cost[0, 0]
    for d in range(1, rows + columns - 1):
        n = np.arange(max(0, d - columns + 1), min(rows, d + 1))
        best = np.minimum(total[d - 1, n], total[d - 1, n + 1])
        if d > 1:
            best = np.minimum(best, total[d - 2, n])
        total[d, n + 1] = cost[n, d - n] + best
    return _trace_back(total)


def _trace_back(total: np.ndarray) -> np.ndarray:
    d, n = total.shape[0] - 1, total.shape[1] - 2
    path = [(n, d - n)]
    while d > 0:
        diagonal = total[d - 2, n] if d > 1 else np.inf
        step = int(np.argmin([diagonal, total[d - 1, n], total[d - 1, n + 1]]))
        d -= 2 if step == 0 else 1
        n -= step < 2
        path.append((n, d - n))
    return np.array(path[::-1])
