"""A random order of any number of things that is computed, not stored."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["shuffled"]

_ROUNDS = 6
# of SplitMix64's finalizer: G. Steele et al., "Fast splittable pseudorandom number generators"
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def shuffled(positions: NDArray[np.int64], size: int, seed: tuple[int, ...]) -> NDArray[np.int64]:
    """Say what comes at some positions of a random order.

    It is a Feistel network over the next power of four; what lands outside is sent through again
    (J. Black and P. Rogaway, "Ciphers with arbitrary finite domains", 2002). No memory is needed
    beside the positions.

    Parameters
    ----------
    positions : NDArray
        From 0 to size - 1, `[M]`.
    size : int
        How many things there are.
    seed : tuple of int
        What the order depends on.

    Returns
    -------
    NDArray
        `[M]`; over all positions each number below `size` comes once.

    Examples
    --------
    >>> order = shuffled(np.arange(1000), 1000, (7, 1))
    >>> bool((np.sort(order) == np.arange(1000)).all()), order[:3].tolist() == [0, 1, 2]
    (True, False)
    """
    keys = np.random.default_rng(seed).integers(2**63, size=_ROUNDS, dtype=np.uint64)
    half = np.uint64((max(2, int(size - 1).bit_length()) + 1) // 2)
    found = _permute(np.asarray(positions).astype(np.uint64), keys, half)
    outside = np.flatnonzero(found >= size)
    while len(outside):
        found[outside] = _permute(found[outside], keys, half)
        outside = outside[found[outside] >= size]
    return found.astype(np.int64)


def _permute(
    values: NDArray[np.uint64], keys: NDArray[np.uint64], half: np.uint64
) -> NDArray[np.uint64]:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = values >> half, values & mask
    for key in keys:
        mixed = right + key  # wraps around
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX[0]
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX[1]
        left, right = right, left ^ ((mixed ^ (mixed >> np.uint64(31))) & mask)
    return left << half | right
