"""Tiny releases for the tests of everything that reads or writes one."""

import os
import resource
from contextlib import contextmanager
from pathlib import Path

import torch

from wavcube.release.card import ModelCard, Source
from wavcube.release.folder import write_release
from wavcube.testing import tiny_wavcube

CARD = ModelCard(
    title="Tiny",
    summary="Random weights.",
    weights_license="Apache-2.0",
    commercial_use="yes",
    upstream=[Source("a teacher", "MIT", "somewhere")],
    data=[Source("synthetic speech", "generated", "wavcube.data.synthetic")],
    command="train.py",
)


def random_wavcube(seed=0, **arguments):
    """A tiny model whose weights depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return tiny_wavcube(**arguments)


def random_release(folder, seed=0, training_state=None, **arguments) -> Path:
    model = random_wavcube(seed, **arguments)
    return write_release(model, folder, card=CARD, training_state=training_state)


def tree(folder) -> dict[str, tuple[int, int, str]]:
    """Everything under a folder: name to size, time of change and link."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        stat = path.lstat()
        link = os.readlink(path) if path.is_symlink() else ""
        found[str(path.relative_to(folder))] = (stat.st_size, stat.st_mtime_ns, link)
    return found


@contextmanager
def full_disk(limit=2000):
    """No file can grow beyond so many bytes: the kernel fails the write, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
