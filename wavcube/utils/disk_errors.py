"""What goes wrong when a file is written, told with its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# of what torch.save raises, which is no OSError: a file that cannot be begun, one that cannot go on
TORCH_CANNOT_WRITE = ("iostream error", "inline_container.cc")


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Let an error in writing name the file: of a full disk's that is missing.

    Parameters
    ----------
    path : str or Path
        What is written inside.

    Raises
    ------
    OSError
        Of the same kind as the one inside; also where torch.save fails.

    Examples
    --------
    >>> with naming("model.ckpt"):
    ...     raise OSError(28, "No space left on device")
    Traceback (most recent call last):
    ...
    OSError: [Errno 28] No space left on device: 'model.ckpt'
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    except RuntimeError as error:
        if not any(mark in str(error) for mark in TORCH_CANNOT_WRITE):
            raise
        raise OSError(f"cannot write {path}: is the disk full?") from error
