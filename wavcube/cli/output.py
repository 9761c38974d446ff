"""The one way in which commands speak: results on stdout, mistakes as one line on stderr."""

from __future__ import annotations

import sys

from wavcube.utils.errors import one_line


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


def complain(error: Exception | str) -> None:
    """Print a mistake as one line on stderr.

    Parameters
    ----------
    error : Exception or str
        What went wrong; line breaks become spaces.
    """
    sys.stderr.write(f"wavcube: error: {one_line(error)}\n")


def say_interrupted(done: str) -> None:
    """Print one line on stderr in place of a traceback after Ctrl-C.

    Parameters
    ----------
    done : str
        How far the command came; empty if there is nothing to tell.
    """
    sys.stderr.write(f"wavcube: interrupted{done and f'; {done}'}\n")
