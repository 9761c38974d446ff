"""Keeping C libraries from writing to the terminal."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_STDERR = 2
# the descriptor belongs to the process: one thread at a time may turn it away and back
_LOCK = threading.Lock()


@contextmanager
def quiet_c_library() -> Iterator[None]:
    """Drop what is written to the standard error's descriptor meanwhile, whoever writes it.

    libmpg123 writes its own notes there of a file that it cannot read; our one line comes after.
    Errors of Python still reach the caller.

    Examples
    --------
    >>> with quiet_c_library():
    ...     _ = os.write(2, b"never seen")
    """
    with _LOCK:
        try:
            kept = os.dup(_STDERR)
        except OSError:  # a process without a standard error has nothing to keep quiet
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, _STDERR)
            yield
        finally:
            os.dup2(kept, _STDERR)
            os.close(kept)
            os.close(nowhere)
