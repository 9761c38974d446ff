"""How recipes end when the user made a mistake."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import yaml
from ruamel.yaml import YAMLError

logger = logging.getLogger(__name__)

USER_ERROR = 2


@contextmanager
def usage_errors(program: str) -> Iterator[None]:
    """End the process with one line and exit code 2 when what stands inside refuses its input.

    Wrap what reads arguments, YAML and data with it; not the training, whose errors are ours.

    Parameters
    ----------
    program : str
        Name to begin the line with.

    Raises
    ------
    SystemExit
        In place of a ValueError, KeyError, OSError or YAML error.

    Examples
    --------
    >>> with usage_errors("train.py"):
    ...     raise ValueError("no such stage")
    Traceback (most recent call last):
    ...
    SystemExit: 2
    """
    try:
        yield
    except (ValueError, KeyError, OSError, YAMLError, yaml.YAMLError) as error:
        # str() of a KeyError is the repr of its message
        logger.debug("refused", exc_info=error)  # the traceback is for the log file
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        sys.stderr.write(f"{program}: error: {' '.join(str(message).split())}\n")
        raise SystemExit(USER_ERROR) from error


def show(text: str) -> None:
    """Write a result for the user to standard output.

    Parameters
    ----------
    text : str
        Without the last newline.

    Examples
    --------
    >>> show("done")
    done
    """
    sys.stdout.write(f"{text}\n")
