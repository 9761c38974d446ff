"""What a writer of a folder leaves beside it when it is killed: found, put back, cleared away."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

logger = logging.getLogger(__name__)

DRAFT, OLD = "partial", "old"


def hidden_name(folder: Path, kind: str) -> Path:
    """Name a folder of this process beside another.

    Parameters
    ----------
    folder : Path
        The final name.
    kind : {"partial", "old"}
        What is being written, or what is being replaced.

    Returns
    -------
    Path
        A hidden name with the number of this process.
    """
    return folder.with_name(f"{_prefix(folder, kind)}{os.getpid()}")


def restore(folder: Path) -> None:
    """Undo what killed writers of a folder had begun.

    Their drafts go. Where one was killed between moving the earlier content aside and putting the
    new in its place, the earlier content comes back.

    Parameters
    ----------
    folder : Path
        The final name.

    Examples
    --------
    >>> folder = getfixture("tmp_path") / "model"
    >>> hidden_name(folder, "old").mkdir()
    >>> restore(folder)
    >>> folder.is_dir()
    True
    """
    for path in _left(folder, DRAFT):
        shutil.rmtree(path)
    if not folder.exists() and (earlier := _left(folder, OLD)):
        earlier[-1].rename(folder)
        logger.warning("put %s back, which a killed process had moved aside", folder)


def clear(folder: Path) -> None:
    """Remove what killed writers of a folder had moved aside, once there is new content.

    Parameters
    ----------
    folder : Path
        The final name.
    """
    for path in _left(folder, OLD):
        shutil.rmtree(path)


def whereabouts(folder: str | Path) -> str:
    """Say where the content of a missing folder is when a writer of it was killed.

    Parameters
    ----------
    folder : str or Path
        The folder.

    Returns
    -------
    str
        The end of an error's message; empty if there is nothing to say.

    Examples
    --------
    >>> folder = getfixture("tmp_path") / "model"
    >>> whereabouts(folder)
    ''
    >>> hidden_name(folder, "old").mkdir()
    >>> whereabouts(folder)  # doctest: +ELLIPSIS
    '; a process was killed while it replaced this folder, and its earlier content is .../.model...
    """
    folder = Path(folder).resolve()
    earlier = [] if folder.exists() else _left(folder, OLD)
    if not earlier:
        return ""
    return (
        "; a process was killed while it replaced this folder, and its earlier content is "
        f"{earlier[-1]}: rename that, or write the folder again"
    )


def _prefix(folder: Path, kind: str) -> str:
    return f".{folder.name}.{kind}-"


def _left(folder: Path, kind: str) -> list[Path]:
    """List the hidden folders of a kind whose process has ended, the newest last."""
    prefix = _prefix(folder, kind)
    if not folder.name or not os.access(folder.parent, os.R_OK):
        return []
    found = [
        path
        for path in folder.parent.iterdir()
        if path.name.startswith(prefix)
        and path.name[len(prefix) :].isdecimal()
        and not _is_running(int(path.name[len(prefix) :]))
    ]
    # renaming sets this time
    return sorted(found, key=lambda path: path.lstat().st_ctime_ns)


def _is_running(process: int) -> bool:
    """Whether another process of this number runs; this one has begun nothing yet."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
