"""The one way in which commands speak: results on stdout, mistakes as one line on stderr."""

from __future__ import annotations

import sys

USER_ERROR = 2


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
    # a terminal that lacks a sign (an arrow, a file name that is no Unicode) must not cost a result
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def complain(error: Exception | str) -> None:
    """Print a mistake as one line on stderr.

    Parameters
    ----------
    error : Exception or str
        What went wrong; line breaks become spaces.
    """
    sys.stderr.write(f"wavcube: error: {' '.join(str(error).split())}\n")
