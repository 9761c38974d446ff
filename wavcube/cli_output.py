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
    sys.stdout.write(text + "\n")


def complain(error: Exception | str) -> None:
    """Print a mistake as one line on stderr.

    Parameters
    ----------
    error : Exception or str
        What went wrong; line breaks become spaces.
    """
    sys.stderr.write(f"wavcube: error: {' '.join(str(error).split())}\n")
