"""Folders that are made once: by a plan that names them, complete or not there at all."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

__all__ = ["default_cache_folder", "make_once"]

logger = logging.getLogger(__name__)

_MARKER = "complete.json"


def default_cache_folder() -> Path:
    """Return the folder for things made once: `$XDG_CACHE_HOME/wavcube` or `~/.cache/wavcube`.

    Examples
    --------
    >>> default_cache_folder().name
    'wavcube'
    """
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "wavcube"


def make_once(
    folder: str | Path,
    kind: str,
    inner: str,
    plan: Mapping[str, Any],
    write: Callable[[Path], None],
) -> Path:
    """Make a folder, or return the one that an earlier call with the same plan has finished.

    It appears under its final name only when complete, and calls that run at the same time wait
    for each other. One that was changed since is made anew.

    Parameters
    ----------
    folder : str | Path
        Where such folders are kept; one subfolder for each plan.
    kind : str
        What the subfolder's name begins with.
    inner : str
        Name of the folder within it that `write` fills.
    plan : Mapping[str, Any]
        Plain data, all that the bytes depend on.
    write : Callable
        Is given the path of the inner folder.

    Returns
    -------
    Path
        The inner folder.

    Raises
    ------
    PermissionError
        When `folder` cannot be written.

    Examples
    --------
    >>> def write(folder):
    ...     folder.mkdir()
    ...     _ = (folder / "a.txt").write_text("a")
    >>> cache = getfixture("tmp_path")
    >>> made = make_once(cache, "letters", "all", {"letter": "a"}, write)
    >>> made.relative_to(cache).as_posix()
    'letters-d5f048502f35/all'
    """
    wanted: dict[str, Any] = json.loads(json.dumps(plan))
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
    target = Path(folder) / f"{kind}-{digest[:12]}"
    if not _is_complete(target, inner, wanted):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(target.parent / f".{target.name}.lock"):
                # Another process may have finished it while this one waited.
                if not _is_complete(target, inner, wanted):
                    _make(target, inner, wanted, write)
        except PermissionError as error:
            raise PermissionError(
                f"cannot write the {kind} corpus to {folder}: choose a folder you may write to"
            ) from error
    return target / inner


def _is_complete(target: Path, inner: str, plan: dict[str, Any]) -> bool:
    """Tell whether a finished folder of this plan is there with every file and byte."""
    try:
        marker = json.loads((target / _MARKER).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return False
    return marker.get("plan") == plan and marker.get("contents") == _contents(target / inner)


def _contents(folder: Path) -> dict[str, int]:
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return {"files": len(sizes), "bytes": sum(sizes)}


def _make(target: Path, inner: str, plan: dict[str, Any], write: Callable[[Path], None]) -> None:
    """Write to a temporary folder, marker last, and rename it."""
    for leftover in target.parent.glob(f".{target.name}.*.partial"):
        shutil.rmtree(leftover, ignore_errors=True)
    logger.info("making the %s corpus in %s", target.name.rpartition("-")[0], target)
    partial = Path(tempfile.mkdtemp(".partial", f".{target.name}.", target.parent))
    try:
        write(partial / inner)
        marker = {"plan": plan, "contents": _contents(partial / inner)}
        (partial / _MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
        partial.chmod(0o755)
        if target.exists():
            logger.warning("what is in %s is incomplete: it is made anew", target)
            shutil.rmtree(target)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
