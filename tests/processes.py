"""Processes of their own for tests, forked from one that has imported the slow things already.

A bare interpreter takes 7 s of a core until torch, speechbrain and the package are there.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from pathlib import Path
from typing import NamedTuple

_FORKS = multiprocessing.get_context("forkserver")
# imported, not used: the server has no threads, has drawn nothing and holds no file
_FORKS.set_forkserver_preload(
    [
        "matplotlib.figure",
        "torch.utils.tensorboard",
        "wavcube.latent.run",
        "wavcube.pretraining.brain",
    ]
)


class Ended(NamedTuple):
    """How a process ended, as `subprocess.run` says it, and what it wrote to standard error."""

    returncode: int
    stderr: str


def run_script(path, arguments, folder, timeout=300) -> Ended:
    """Run a script with its arguments in a folder, as `python path arguments` does."""
    return _run(_script, (str(path), [str(argument) for argument in arguments]), folder, timeout)


def run_code(code, folder, arguments=(), timeout=300) -> Ended:
    """Run lines of Python in a folder, as `python -c code arguments` does."""
    return _run(_code, (code, [str(argument) for argument in arguments]), folder, timeout)


def _run(target, what, folder, timeout):
    errors = Path(folder).parent / f"{Path(folder).name}.stderr"
    process = _FORKS.Process(target=_inside, args=(target, what, str(folder), str(errors)))
    process.start()
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(f"{what} has not ended within {timeout} s")
    said = errors.read_text(encoding="utf-8")
    errors.unlink()
    return Ended(process.exitcode, said)


def _inside(target, what, folder, errors):
    with open(errors, "w", encoding="utf-8") as file, open(os.devnull, "w") as nothing:
        os.dup2(file.fileno(), 2)
        os.dup2(nothing.fileno(), 1)
    os.chdir(folder)
    target(*what)


def _script(path, arguments):
    sys.argv = [path, *arguments]
    sys.path.insert(0, os.path.dirname(path))
    runpy.run_path(path, run_name="__main__")


def _code(code, arguments):
    sys.argv = ["-c", *arguments]
    sys.path.insert(0, "")
    exec(compile(code, "<code>", "exec"), {"__name__": "__main__"})
