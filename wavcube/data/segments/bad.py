"""Recordings that turn out bad while a corpus is read: told, counted, and a limit to them."""

from __future__ import annotations

import logging

__all__ = ["BadReads"]

logger = logging.getLogger(__name__)

# a share says little of fewer reads
_AT_LEAST = 1000


class BadReads:
    """Counts the reads of a process, and how many of them failed.

    Parameters
    ----------
    max_fraction : float
        How many may fail: of all reads so far, or of 1000 where there are fewer.

    Examples
    --------
    >>> reads = BadReads(0.001)
    >>> reads.failed(ValueError("a.wav is damaged"))
    >>> reads.failed(ValueError("b.wav is damaged"))
    Traceback (most recent call last):
    ...
    ValueError: 2 of 2 segments could not be read, ...; the last: b.wav is damaged
    """

    def __init__(self, max_fraction: float) -> None:
        self.max_fraction = max_fraction
        self.reads = self.bad = 0

    def succeeded(self) -> None:
        """Count one that was read."""
        self.reads += 1

    def failed(self, error: Exception) -> None:
        """Count one that was not, and say why.

        Parameters
        ----------
        error : Exception
            The reason.

        Raises
        ------
        ValueError
            If there are too many.
        """
        self.reads, self.bad = self.reads + 1, self.bad + 1
        if self.bad > self.max_fraction * max(self.reads, _AT_LEAST):
            raise ValueError(
                f"{self.bad} of {self.reads} segments could not be read, and at most "
                f"{self.max_fraction:.2%} may fail (max_bad_fraction); `wavcube manifest` lists "
                f"the bad ones and writes a manifest without them; the last: {error}"
            ) from error
        logger.warning("left out: %s", error)
