"""Which files a command reads and writes, settled and checked before the first is touched."""

from __future__ import annotations

import glob
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wavcube.utils.files import AUDIO_SUFFIXES, LATENT_SUFFIXES, walk_files


@dataclass(frozen=True)
class Job:
    """One file to read and one to write.

    Attributes
    ----------
    source : Path
        Input.
    target : Path
        Output.
    """

    source: Path
    target: Path


def plan_jobs(
    inputs: Sequence[str],
    out: str | None,
    read_suffixes: Sequence[str],
    write_suffixes: Sequence[str],
    overwrite: bool,
) -> list[Job]:
    """Pair every input with its output.

    Parameters
    ----------
    inputs : sequence of str
        Files, folders (searched with their subfolders) and globs.
    out : str, optional
        For one input file, the output file or a folder; for anything else a folder, in which an
        input folder's subfolders are kept. By default beside the inputs.
    read_suffixes : sequence of str
        What to look for in folders.
    write_suffixes : sequence of str
        What an output file may end in; the first is the default.
    overwrite : bool
        Allow existing outputs.

    Returns
    -------
    list of Job
        In sorted order.

    Raises
    ------
    FileNotFoundError
        If an input does not exist, or a folder or glob holds nothing to read.
    FileExistsError
        If an output exists.
    PermissionError
        If an output cannot be written.
    ValueError
        If two inputs would give one output, an output is an input, or ends in something else; if
        several inputs are given one file name.

    Examples
    --------
    >>> tmp = getfixture("tmp_path")
    >>> (tmp / "a.wav").touch()
    >>> job, = plan_jobs([str(tmp)], str(tmp / "out"), AUDIO_SUFFIXES, LATENT_SUFFIXES, False)
    >>> job.target.name
    'a.safetensors'
    """
    found: dict[Path, Path] = {}
    for text in inputs:
        for source, relative in find_files(text, read_suffixes):
            found.setdefault(source, relative)
    suffix = write_suffixes[0]
    if out is None:
        jobs = [Job(source, source.with_suffix(suffix)) for source in found]
    elif _names_file(inputs, Path(out), write_suffixes):
        jobs = [Job(source, Path(out)) for source in found]
    else:
        jobs = [Job(s, Path(out) / relative.with_suffix(suffix)) for s, relative in found.items()]
    _check(jobs, overwrite)
    return sorted(jobs, key=lambda job: job.source)


def _names_file(inputs: Sequence[str], out: Path, suffixes: Sequence[str]) -> bool:
    """Tell whether ``out`` is the output file itself, and not the folder of the outputs."""
    if out.is_dir() or (not out.suffix and not out.is_file()):
        return False
    if len(inputs) > 1 or not Path(inputs[0]).is_file():
        if out.is_file() or out.suffix.lower() in (*AUDIO_SUFFIXES, *LATENT_SUFFIXES):
            raise ValueError(f"{out} names a file; several inputs need a folder")
        return False
    if out.suffix.lower() not in suffixes:
        raise ValueError(f"{out} must end in {' or '.join(suffixes)}, or be a folder")
    return True


def find_files(text: str, suffixes: Sequence[str]) -> list[tuple[Path, Path]]:
    """List the files of one argument of the command line.

    Parameters
    ----------
    text : str
        A file, a folder or a glob.
    suffixes : sequence of str
        What to look for in a folder.

    Returns
    -------
    list of tuple of Path
        Each file, and its path within the argument's folder.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    path = Path(text)
    if path.is_file():
        return [(path, Path(path.name))]
    if path.is_dir():
        files = sorted(walk_files(path, suffixes))
        if not files:
            raise FileNotFoundError(f"{path} holds no file ending in {', '.join(suffixes)}")
        return [(p, p.relative_to(path)) for p in files]
    if glob.has_magic(text):
        files = [Path(p) for p in sorted(glob.glob(text, recursive=True)) if Path(p).is_file()]
        if not files:
            raise FileNotFoundError(f"no file matches {text!r}")
        return [(p, Path(p.name)) for p in files]
    raise FileNotFoundError(f"there is no file or folder {text!r}")


def check_output(path: Path, overwrite: bool) -> None:
    """Refuse an output that could not be written, before any work is done for it.

    Parameters
    ----------
    path : Path
        A file to write.
    overwrite : bool
        Allow an existing file.

    Raises
    ------
    FileExistsError
        If there is something of that name.
    PermissionError
        If its folder may not be written.

    Examples
    --------
    >>> tmp = getfixture("tmp_path")
    >>> check_output(tmp / "new" / "scores.json", overwrite=False)
    >>> check_output(tmp, overwrite=True)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    FileExistsError: ... is a folder, a file name is needed
    """
    if path.is_dir():
        raise FileExistsError(f"{path} is a folder, a file name is needed")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists: pass --overwrite, or another name")
    check_writable(path)


def check_writable(path: Path) -> None:
    """Refuse a name under which no file or folder could be made.

    Parameters
    ----------
    path : Path
        Its missing parents may be made too.

    Raises
    ------
    PermissionError
        If nothing can be made there.

    Examples
    --------
    >>> tmp = getfixture("tmp_path")
    >>> (tmp / "file").touch()
    >>> check_writable(tmp / "file" / "new")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    PermissionError: cannot write ...new: no file can be made in ...file
    """
    above = next(parent for parent in path.absolute().parents if parent.exists())
    try:
        # tried, not asked for: permissions say nothing of /proc or of a disk mounted for reading
        tempfile.TemporaryFile(dir=above.resolve()).close()
    except OSError as error:
        raise PermissionError(f"cannot write {path}: no file can be made in {above}") from error


def _check(jobs: Sequence[Job], overwrite: bool) -> None:
    owners: dict[Path, Path] = {}
    sources = {job.source.resolve() for job in jobs}
    for job in jobs:
        target = job.target.resolve()
        if target in owners:
            raise ValueError(f"{owners[target]} and {job.source} would both give {job.target}")
        if target in sources:
            raise ValueError(f"{job.target} is an input: name another output")
        check_output(job.target, overwrite)
        owners[target] = job.source
