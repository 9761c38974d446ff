"""How recipes end when the user made a mistake, or pressed Ctrl-C."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import yaml
from ruamel.yaml import YAMLError

from wavcube.training.distributed import is_main, may_speak
from wavcube.utils.atomic import LOCK, locked_folder
from wavcube.utils.errors import INTERRUPTED, USER_ERROR, one_line

logger = logging.getLogger(__name__)

# ImportError is of an extra that is not installed
MISTAKES = (ValueError, KeyError, OSError, ImportError, YAMLError, yaml.YAMLError)


@contextmanager
def exit_on_user_error(
    program: str, kinds: tuple[type[Exception], ...] = MISTAKES
) -> Iterator[None]:
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
    >>> with exit_on_user_error("train.py"):
    ...     raise ValueError("no such stage")
    Traceback (most recent call last):
    ...
    SystemExit: 2
    """
    try:
        yield
    except kinds as error:
        logger.debug("refused", exc_info=error)  # the traceback is for the log file
        if may_speak():
            sys.stderr.write(f"{program}: error: {one_line(error)}\n")
        raise SystemExit(USER_ERROR) from error


@contextmanager
def handle_interrupt(program: str, folder: str | Path | None = None) -> Iterator[None]:
    """End the process with one line and exit code 130 when Ctrl-C stops what stands inside.

    Parameters
    ----------
    program : str
        Name to begin the line with.
    folder : str or Path, optional
        Of the run, whose checkpoints are in `save`, or in that of a stage's folder.

    Raises
    ------
    SystemExit
        In place of KeyboardInterrupt.

    Examples
    --------
    >>> with handle_interrupt("train.py"):
    ...     raise KeyboardInterrupt
    Traceback (most recent call last):
    ...
    SystemExit: 130
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        if may_speak():
            sys.stderr.write(f"{program}: interrupted: the same command {_what_is_next(folder)}\n")
        raise SystemExit(INTERRUPTED) from stop


def _what_is_next(folder: str | Path | None) -> str:
    saved = [] if folder is None else checkpoints_in(folder)
    if not saved or folder is None:
        return "starts from the beginning"
    newest = max(saved, key=lambda path: path.stat().st_mtime_ns)
    update = yaml.safe_load(newest.read_text(encoding="utf-8"))["optimizer_step"]
    of_stage = "" if newest.parents[2] == Path(folder) else f" of {newest.parents[2].name}"
    return f"goes on from the last checkpoint (update {update}{of_stage})"


def checkpoints_in(folder: str | Path) -> list[Path]:
    """List the checkpoints of a run: those in `save`, or in that of a stage's folder.

    Parameters
    ----------
    folder : str or Path
        Of the run.

    Returns
    -------
    list of Path
        Of each the file in which the updates are counted.

    Examples
    --------
    >>> checkpoints_in(getfixture("tmp_path"))
    []
    """
    return [path for own in ("", "*/") for path in Path(folder).glob(f"{own}save/CKPT*/brain.ckpt")]


@contextmanager
def lock_folder(program: str, folder: str | Path) -> Iterator[None]:
    """Let no other run write to a folder meanwhile; of several processes the main one sees to it.

    Parameters
    ----------
    program : str
        See :func:`exit_on_user_error`.
    folder : str or Path
        Of the run. One that is made for it, and in which nothing is left, goes again.

    Raises
    ------
    SystemExit
        If another run writes to it, or it cannot be made.

    Examples
    --------
    >>> folder = getfixture("tmp_path") / "run"
    >>> with lock_folder("train.py", folder), lock_folder("train.py", folder):
    ...     pass
    Traceback (most recent call last):
    ...
    SystemExit: 2
    >>> folder.exists()
    False
    """
    if not is_main():
        yield
        return
    was_there = Path(folder).exists()
    with ExitStack() as stack:
        with exit_on_user_error(program):
            stack.enter_context(locked_folder(folder))
        try:
            yield
        finally:
            if not was_there and _is_empty(folder):
                # while it is still claimed; Windows does not remove what is open
                with suppress(OSError):
                    Path(folder, LOCK).unlink(missing_ok=True)
                    Path(folder).rmdir()


def _is_empty(folder: str | Path) -> bool:
    """Tell whether there is nothing in a folder, or no folder."""
    path = Path(folder)
    return not path.exists() or (path.is_dir() and {p.name for p in path.iterdir()} <= {LOCK})


@contextmanager
def cleanup_on_error(folder: str | Path) -> Iterator[None]:
    """Remove what stands inside has put into an empty or new folder, should it fail.

    Parameters
    ----------
    folder : str or Path
        Nothing is removed from it if it held anything before.

    Examples
    --------
    >>> folder = getfixture("tmp_path") / "new"
    >>> try:
    ...     with cleanup_on_error(folder):
    ...         folder.mkdir()
    ...         raise ValueError
    ... except ValueError:
    ...     folder.exists()
    False
    """
    folder = Path(folder)
    was_there, was_empty = folder.exists(), _is_empty(folder)
    try:
        yield
    except BaseException:
        if was_empty and is_main() and folder.is_dir():
            for path in folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                elif path.name != LOCK:  # which is the folder's owner's
                    path.unlink()
            if not was_there:
                with suppress(OSError):
                    folder.rmdir()
        raise


def print_main(text: str) -> None:
    """Write a result for the user to standard output; of several processes the main one does.

    Parameters
    ----------
    text : str
        Without the last newline.

    Examples
    --------
    >>> print_main("done")
    done
    """
    if is_main():
        sys.stdout.write(f"{text}\n")
