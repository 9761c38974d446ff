"""How recipes end when the user made a mistake."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from ruamel.yaml import YAMLError

logger = logging.getLogger(__name__)

USER_ERROR = 2
MISTAKES = (ValueError, KeyError, OSError, YAMLError, yaml.YAMLError)


@contextmanager
def usage_errors(program: str, kinds: tuple[type[Exception], ...] = MISTAKES) -> Iterator[None]:
    """End the process with one line and exit code 2 when what stands inside refuses its input.

    Wrap what reads arguments, YAML and data with it; not the training, whose errors are ours.

    Parameters
    ----------
    program : str
        Name to begin the line with.
    kinds : tuple of type
        The exceptions that mean a mistake.

    Raises
    ------
    SystemExit
        In their place.

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
    except kinds as error:
        # str() of a KeyError is the repr of its message
        logger.debug("refused", exc_info=error)  # the traceback is for the log file
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        sys.stderr.write(f"{program}: error: {' '.join(str(message).split())}\n")
        raise SystemExit(USER_ERROR) from error


@contextmanager
def nothing_left_of(folder: str | Path) -> Iterator[None]:
    """Remove a folder that what stands inside has made, should it fail.

    Parameters
    ----------
    folder : str or Path
        Is kept if it was there before.

    Examples
    --------
    >>> folder = getfixture("tmp_path") / "new"
    >>> try:
    ...     with nothing_left_of(folder):
    ...         folder.mkdir()
    ...         raise ValueError
    ... except ValueError:
    ...     folder.exists()
    False
    """
    was_there = Path(folder).exists()
    try:
        yield
    except BaseException:
        if not was_there:
            shutil.rmtree(folder, ignore_errors=True)
        raise


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
