"""Files and folders that appear complete under their name, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wavcube.utils.disk_errors import naming
from wavcube.utils.leftovers import DRAFT, OLD, clear, hidden_name, restore


@contextmanager
def atomic_folder(
    target: str | Path,
    *,
    overwrite: bool = False,
    check_replaceable: Callable[[Path], None] | None = None,
) -> Iterator[Path]:
    """Fill a folder beside the target, then rename it.

    The body writes into the yielded folder. When it raises (a full disk, Ctrl-C) nothing is left; a
    kill leaves hidden folders beside the target, never a broken one under its name. The next writer
    of the same target clears them away, and puts back what was to be replaced if it is missing.

    Parameters
    ----------
    target : str or Path
        The final name. Missing parents are made.
    overwrite : bool
        Replace a folder that is not empty.
    check_replaceable : callable, optional
        Called with a folder before it is replaced; raises if it is none that may be, so that a slip
        does not remove a home folder.

    Yields
    ------
    Path
        The folder to write into.

    Raises
    ------
    FileExistsError
        If the target is a file, or a folder that is not empty and may not be replaced.

    Examples
    --------
    >>> tmp = getfixture("tmp_path")
    >>> with atomic_folder(tmp / "model") as folder:
    ...     _ = (folder / "weights").write_text("1")
    >>> sorted(path.name for path in tmp.iterdir())
    ['model']
    """
    target = Path(target).resolve()  # behind a link it is the folder that is replaced
    restore(target)
    _check_free(target, overwrite, check_replaceable)
    made = _make_parents(target)
    draft = hidden_name(target, DRAFT)
    try:
        with naming(target):
            draft.mkdir()
            yield draft
            _sync_tree(draft)
            _swap(draft, target)
            sync(target.parent)
            clear(target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        _remove_empty(made)
        raise


@contextmanager
def atomic_file(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Write a file under a name of the same suffix beside it, then rename it.

    When the body raises, nothing is left, missing folders included.

    Parameters
    ----------
    path : str or Path
        The final name. Missing parents are made.
    overwrite : bool
        Replace an existing file.

    Yields
    ------
    Path
        The file to write.

    Raises
    ------
    FileExistsError
        If the file exists and ``overwrite`` is false.
    IsADirectoryError
        If there is a folder of that name.

    Examples
    --------
    >>> tmp = getfixture("tmp_path")
    >>> with atomic_file(tmp / "note.txt") as draft:
    ...     _ = draft.write_text("1")
    >>> sorted(path.name for path in tmp.iterdir())
    ['note.txt']
    """
    path = Path(path).absolute()
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, a file name is needed")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists: choose another name, or allow overwriting")
    made = _make_parents(path)
    draft = path.with_name(f".{path.stem}.partial-{os.getpid()}{path.suffix}")
    try:
        with naming(path):
            yield draft
            draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        _remove_empty(made)
        raise


def remove_drafts(folder: str | Path) -> None:
    """Remove the unfinished files that killed processes have left in a folder.

    Parameters
    ----------
    folder : str or Path
        To which no other process writes meanwhile. Unfinished folders in it stay.

    Examples
    --------
    >>> folder = getfixture("tmp_path")
    >>> (folder / ".a.partial-1.tar").touch()
    >>> remove_drafts(folder)
    >>> list(folder.iterdir())
    []
    """
    for draft in Path(folder).glob(".*.partial-*"):
        if not draft.is_dir():
            draft.unlink(missing_ok=True)


def write_atomically(path: str | Path, data: bytes, *, overwrite: bool = False) -> None:
    """Write a whole file, it and its name synced to the disk, or nothing.

    Parameters
    ----------
    path : str or Path
        The final name. Missing parents are made.
    data : bytes
        The content.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    FileExistsError
        If the file exists and ``overwrite`` is false.
    OSError
        If the system fails, on a full disk for example; names the file.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "folder" / "note"
    >>> write_atomically(path, b"text")
    >>> path.read_bytes()
    b'text'
    """
    with atomic_file(path, overwrite=overwrite) as draft, draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    with naming(path):
        sync(Path(path).absolute().parent)


def check_apart(source: str | Path, target: str | Path) -> None:
    """Refuse to copy a folder into itself, or over a folder that it is in.

    Parameters
    ----------
    source : str or Path
        The folder to copy.
    target : str or Path
        Its copy's name.

    Raises
    ------
    ValueError
        If one of them is the other, or within the other.

    Examples
    --------
    >>> check_apart("run/release", "run/copy")
    >>> check_apart("run/release", "run/release/copy")
    Traceback (most recent call last):
    ...
    ValueError: run/release/copy is within run/release, which would be copied: name a folder apart
    """
    inner, outer = Path(target).resolve(), Path(source).resolve()
    if inner.is_relative_to(outer):
        place = "is" if inner == outer else "is within"
        raise ValueError(f"{target} {place} {source}, which would be copied: name a folder apart")
    if outer.is_relative_to(inner):
        raise ValueError(f"{target} holds {source}, which would be copied: name a folder apart")


def give_default_mode(path: str | Path) -> None:
    """Give a file the permissions of one that was opened for writing.

    mkstemp and safetensors make files that nobody but their owner may read.

    Parameters
    ----------
    path : str or Path
        An existing file.
    """
    umask = os.umask(0)
    os.umask(umask)
    os.chmod(path, 0o666 & ~umask)


def sync(path: Path) -> None:
    """Force a file, or a folder's list of names, to the disk.

    Parameters
    ----------
    path : Path
        Must exist.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _check_free(
    target: Path, overwrite: bool, check_replaceable: Callable[[Path], None] | None
) -> None:
    if target.exists() and not target.is_dir():
        raise FileExistsError(f"{target} is a file, a folder is needed")
    if not target.is_dir() or not any(target.iterdir()):
        return
    if not overwrite:
        raise FileExistsError(f"{target} is not empty: choose another folder, or allow overwriting")
    if check_replaceable is not None:
        check_replaceable(target)


def _make_parents(path: Path) -> list[Path]:
    """Make the missing parents and return them, the deepest first."""
    missing = [parent for parent in path.parents if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    return missing


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _swap(draft: Path, target: Path) -> None:
    """Put the draft in the target's place; the old content is kept aside."""
    if not target.is_dir():
        draft.rename(target)
        return
    old = hidden_name(target, OLD)
    target.rename(old)
    try:
        draft.rename(target)
    except BaseException:
        old.rename(target)
        raise


def _sync_tree(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        sync(path)
    sync(folder)
