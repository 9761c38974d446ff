"""Recordings that turn out bad while a corpus is read: told, counted, and a limit to them."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from types import TracebackType

import torch

from wavcube.utils.atomic import atomic_file

__all__ = ["BadList", "BadReads", "UnreadableError", "check_bad_fraction"]

logger = logging.getLogger(__name__)

# a share says little of fewer reads
_AT_LEAST = 1000
_LOGGED = 10


def check_bad_fraction(fraction: float) -> None:
    """Refuse a limit that is no share.

    Parameters
    ----------
    fraction : float
        `max_bad_fraction`.

    Raises
    ------
    ValueError
        If it does not lie in [0, 1].
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"max_bad_fraction {fraction} must lie in [0, 1]")


class UnreadableError(ValueError):
    """Too much of a corpus cannot be read.

    Parameters
    ----------
    message : str
        Of the error; from a loader's worker it comes with a traceback before it, which is cut off.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.rpartition(f"{type(self).__name__}: ")[2].strip())


class BadReads:
    """Counts the reads of a process and its loaders' workers, and how many of them failed.

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
    wavcube.data.segments.bad.UnreadableError: 2 of 2 segments could not be read, ...; the last: ...
    """

    def __init__(self, max_fraction: float) -> None:
        self.max_fraction = max_fraction
        # reads and failures, in memory that is shared with workers, which last for an epoch only;
        # two that count at once may lose one
        self._counts = torch.zeros(2, dtype=torch.long).share_memory_()

    @property
    def bad(self) -> int:
        """How many failed."""
        return int(self._counts[1])

    def succeeded(self) -> None:
        """Count one that was read."""
        self._counts[0] += 1

    def failed(self, error: Exception) -> None:
        """Count one that was not, and say why.

        Parameters
        ----------
        error : Exception
            The reason.

        Raises
        ------
        UnreadableError
            If there are too many.
        """
        self._counts += 1
        reads, bad = self._counts.tolist()
        if bad > self.max_fraction * max(reads, _AT_LEAST):
            raise UnreadableError(
                f"{bad} of {reads} segments could not be read, and at most "
                f"{self.max_fraction:.2%} may fail (max_bad_fraction); `wavcube manifest` lists "
                f"the bad ones and writes a manifest without them; the last: {error}"
            ) from error
        logger.warning("left out: %s", error)


class BadList:
    r"""Lists what is bad in a CSV file, with the reasons; there is no file if nothing is.

    Parameters
    ----------
    path : Path
        The file, with the columns ID and reason. It appears when the `with` ends, also if it ends
        by an exception.

    Raises
    ------
    OSError
        At the end of the `with`, if the file cannot be written, on a full disk for example.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "bad.csv"
    >>> with BadList(path) as bad:
    ...     bad.add("a", "a.wav is damaged")
    >>> path.read_text()
    'ID,reason\na,a.wav is damaged\n'
    >>> bad.judge(50, 0.01)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: 1 of 50 rows are bad, and at most 1.00% may be; ...
    """

    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0
        self._first: list[str] = []

    def __enter__(self) -> BadList:
        self._atomic = atomic_file(self.path, overwrite=True)
        draft = self._atomic.__enter__()
        self._file = draft.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(["ID", "reason"])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._file.close()
        except OSError as failure:  # a full disk: no half of a list is left
            self._atomic.__exit__(type(failure), failure, failure.__traceback__)
            raise OSError(failure.errno, failure.strerror, str(self.path)) from failure
        self._atomic.__exit__(None, None, None)
        if not self.count:
            self.path.unlink()
        elif self.count > _LOGGED:
            logger.warning("%d left out, listed in %s", self.count, self.path)

    def add(self, name: str, reason: str) -> None:
        """List one.

        Parameters
        ----------
        name : str
            Its id.
        reason : str
            What is wrong with it.
        """
        self.count += 1
        if self.count <= _LOGGED:
            self._first.append(reason)
            logger.warning("left out: %s", reason)
        self._writer.writerow([name, reason])

    def judge(self, total: int, max_fraction: float) -> None:
        """Raise a ValueError if there are too many.

        Parameters
        ----------
        total : int
            Good and bad ones.
        max_fraction : float
            How many of them may be bad.
        """
        if self.count > max_fraction * total:
            raise ValueError(
                f"{self.count} of {total} rows are bad, and at most {max_fraction:.2%} may be; "
                f"{self.path} lists them: repair or remove them, or raise the limit "
                f"(max_bad_fraction); the first: {self._first[0]}"
            )
