"""Files and folders that appear whole under their name or not at all, and folders of one writer.

What is promised: nothing half-written under its final name, whenever a process is killed; nothing
lost that was there; and one line of error that names the file.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

LOCK = ".lock"
DRAFT, OLD = "partial", "old"
# of what torch.save raises, which is not an OSError: a file that cannot be begun, or cannot go on
TORCH_CANNOT_WRITE = ("iostream error", "inline_container.cc")
# of some network file systems
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)


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
    _restore(target)
    _check_free(target, overwrite, check_replaceable)
    made = _make_parents(target)
    draft = _hidden_name(target, DRAFT)
    try:
        with with_filename(target):
            draft.mkdir()
            yield draft
            for path in (*sorted(draft.rglob("*")), draft):
                sync(path)
            _swap(draft, target)
            sync(target.parent)
            for earlier in _left(target, OLD):  # there is new content now
                shutil.rmtree(earlier)
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
        with with_filename(path):
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
    with with_filename(path):
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


def read_json(path: Path) -> Any:  # noqa: ANN401 - what the file holds
    """Read plain data.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    object
        What it holds.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is broken.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "a.json"
    >>> write_atomically(path, b"[1]")
    >>> read_json(path)
    [1]
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error


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


@contextmanager
def locked_folder(folder: str | Path) -> Iterator[None]:
    """Let no other process that asks for it write to a folder meanwhile.

    The system lets go of the lock when the process ends, however it ends.

    Parameters
    ----------
    folder : str or Path
        It is made if it is missing; the hidden file ``.lock`` may stay in it.

    Raises
    ------
    BlockingIOError
        If another process writes to it.

    Examples
    --------
    >>> folder = getfixture("tmp_path") / "features"
    >>> with locked_folder(folder):
    ...     with locked_folder(folder):
    ...         pass  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    BlockingIOError: another process writes to ...features: wait until it ends
    """
    # here: it loads asyncio, for which every start of the command line would wait
    from filelock import FileLock, Timeout

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise BlockingIOError(f"another process writes to {folder}: wait until it ends") from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        logger.warning("%s is where nothing can be locked: let one process write to it", folder)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def with_filename(path: str | Path) -> Iterator[None]:
    """Let an error in writing name the file: of a full disk's that is missing.

    Parameters
    ----------
    path : str or Path
        What is written inside.

    Raises
    ------
    OSError
        Of the same kind as the one inside; also where torch.save fails.

    Examples
    --------
    >>> with with_filename("model.ckpt"):
    ...     raise OSError(28, "No space left on device")
    Traceback (most recent call last):
    ...
    OSError: [Errno 28] No space left on device: 'model.ckpt'
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    except RuntimeError as error:
        if not any(mark in str(error) for mark in TORCH_CANNOT_WRITE):
            raise
        raise OSError(f"cannot write {path}: is the disk full?") from error


def recovery_hint(folder: str | Path) -> str:
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
    >>> recovery_hint(folder)
    ''
    >>> _hidden_name(folder, "old").mkdir()
    >>> recovery_hint(folder)  # doctest: +ELLIPSIS
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
    old = _hidden_name(target, OLD)
    target.rename(old)
    try:
        draft.rename(target)
    except BaseException:
        old.rename(target)
        raise


def _hidden_name(folder: Path, kind: str) -> Path:
    """Name a folder beside another, with the number of this process: DRAFT or OLD."""
    return folder.with_name(f"{_prefix(folder, kind)}{os.getpid()}")


def _restore(folder: Path) -> None:
    """Undo what killed writers of a folder had begun.

    Their drafts go. Where one was killed between moving the earlier content aside and putting the
    new in its place, the earlier content comes back.
    """
    for path in _left(folder, DRAFT):
        shutil.rmtree(path)
    if not folder.exists() and (earlier := _left(folder, OLD)):
        earlier[-1].rename(folder)
        logger.warning("put %s back, which a killed process had moved aside", folder)


def _prefix(folder: Path, kind: str) -> str:
    return f".{folder.name}.{kind}-"


def _left(folder: Path, kind: str) -> list[Path]:
    """List the hidden folders of a kind whose process has ended, the newest last."""
    prefix = _prefix(folder, kind)
    if not folder.name or not os.access(folder.parent, os.R_OK):
        return []
    found = []
    for path in folder.parent.iterdir():
        process = path.name.removeprefix(prefix)
        if path.name != process and process.isdecimal() and not _is_running(int(process)):
            found.append(path)
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
    except PermissionError:  # it is somebody else's
        pass
    return True


AUDIO_SUFFIXES = (
    ".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".au", ".sph", ".w64", ".caf",
)  # fmt: skip
LATENT_SUFFIXES = (".safetensors",)
# lossless: a copy in a lossy format would be judged for what the format lost
WRITTEN_SUFFIXES = (".wav", ".flac")


def check_suffix(path: str | Path, suffixes: Sequence[str]) -> None:
    """Refuse the name of an output that ends in something else.

    Parameters
    ----------
    path : str or Path
        The name.
    suffixes : sequence of str
        What it may end in, in lower case.

    Raises
    ------
    ValueError
        If it does not.

    Examples
    --------
    >>> check_suffix("copy.WAV", WRITTEN_SUFFIXES)
    >>> check_suffix("copy.mp3", WRITTEN_SUFFIXES)
    Traceback (most recent call last):
    ...
    ValueError: copy.mp3 must end in .wav or .flac
    """
    if Path(path).suffix.lower() not in suffixes:
        raise ValueError(f"{path} must end in {' or '.join(suffixes)}")


def walk_files(folder: str | Path, suffixes: Sequence[str]) -> Iterator[Path]:
    """Go through the files in a folder and below it, those of each folder in order of their names.

    Links are followed, and a folder that several of them lead to is visited once. What is hidden
    stays out: with it the halves of files that macOS writes (``._a.wav``) and our own drafts.

    Parameters
    ----------
    folder : str or Path
        Where to look.
    suffixes : sequence of str
        In lower case; names may be written otherwise.

    Yields
    ------
    Path
        A file, or a link that leads nowhere, so that whoever opens it says so.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.

    Examples
    --------
    >>> folder = getfixture("tmp_path")
    >>> for name in ("b.WAV", "a.wav", "._a.wav", "a.txt"):
    ...     (folder / name).touch()
    >>> [path.name for path in walk_files(folder, [".wav"])]
    ['a.wav', 'b.WAV']
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    seen = set()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=_warn_of_folder):
        found = os.stat(parent)
        if (found.st_dev, found.st_ino) in seen:
            folders.clear()
            continue
        seen.add((found.st_dev, found.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            if name.startswith(".") or not name.lower().endswith(tuple(suffixes)):
                continue
            if path.is_file() or path.is_symlink():
                yield path


def _warn_of_folder(error: OSError) -> None:
    logger.warning("%s is passed over: %s", error.filename, error.strerror)
