"""The one way in which commands speak: results on stdout, mistakes as one line on stderr."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from wavcube.utils.errors import OUTPUT_CLOSED, one_line

_STDERR = 2


def say(text: str) -> None:
    """Print a result.

    Parameters
    ----------
    text : str
        One or several lines.

    Examples
    --------
    >>> say("done")
    done
    """
    # a terminal that lacks a sign (an arrow, a name that is not Unicode) must not cost a result
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stdout.flush()  # whoever reads a pipe gets each result when it is there


def open_streams() -> None:
    """Give a process that was started without stdout or stderr one that leads nowhere.

    Otherwise the first files that it opens take their numbers, and the notes of C libraries.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))


def leave_streams() -> int:
    """Let go of a stream whose reader has gone, as `head` does; give the exit code of shells."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):  # what Python still holds for them, it writes at its end
        os.dup2(nowhere, number)
    os.close(nowhere)
    return OUTPUT_CLOSED


def complain(error: Exception | str) -> None:
    """Print a mistake as one line on stderr.

    Parameters
    ----------
    error : Exception or str
        What went wrong; line breaks become spaces.
    """
    with suppress(BrokenPipeError):
        sys.stderr.write(f"wavcube: error: {one_line(error)}\n")


def say_interrupted(done: str) -> None:
    """Print one line on stderr in place of a traceback after Ctrl-C.

    Parameters
    ----------
    done : str
        How far the command came; empty if there is nothing to tell.
    """
    sys.stderr.write(f"wavcube: interrupted{done and f'; {done}'}\n")
