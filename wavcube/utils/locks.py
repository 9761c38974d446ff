"""Folders that one process alone writes to."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)

LOCK = ".lock"
# of some network file systems
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)


@contextmanager
def claimed(folder: str | Path) -> Iterator[None]:
    """Let no other process that asks for it write to a folder meanwhile.

    The system lets go of the lock when the process ends, however it ends.

    Parameters
    ----------
    folder : str or Path
        It is made if it is missing; the hidden file ``.lock`` may stay in it.

    Raises
    ------
    BlockingIOError
        If another process writes to it.

    Examples
    --------
    >>> folder = getfixture("tmp_path") / "features"
    >>> with claimed(folder):
    ...     with claimed(folder):
    ...         pass  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    BlockingIOError: another process writes to ...features: wait until it ends
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise BlockingIOError(f"another process writes to {folder}: wait until it ends") from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        logger.warning("%s is where nothing can be locked: let one process write to it", folder)
    try:
        yield
    finally:
        lock.release()
