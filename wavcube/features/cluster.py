"""Shards given out by Ray Data, to this machine's processes or to those of a cluster.

Ray starts the workers, replaces those that die and gives their work out again. The extra
``[cluster]`` installs it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

from wavcube.features.worker import ShardWriter, Task
from wavcube.utils.errors import last_line, one_line
from wavcube.utils.processes import one_thread

# of Ray's object store on this machine: only numbers of shards go through it
_STORE_BYTES = 10**8
# a block is what Ray gives out at a time, at a cost of its own
_MOST_BLOCKS = 2000


@dataclass(frozen=True)
class RayData:
    """Write shards by actors of Ray Data, of one thread each.

    With the environment variable ``RAY_ADDRESS`` (or after the user's own ``ray.init``) they run on
    that cluster; manifest, audio, release and output must be found there under the same paths, and
    wavcube be installed. Otherwise Ray is started on this machine and stopped again.

    Parameters
    ----------
    count : int
        How many actors.
    device : str
        Where they compute, as torch names it; with "cuda" each has a GPU of its own.

    Raises
    ------
    ValueError
        If the number is below 1, or Ray is not installed.
    """

    count: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"{self.count} processes: at least 1 is needed")
        _import_ray()

    def __call__(self, task: Task, numbers: Sequence[int]) -> Generator[int, None, None]:
        """Write shards; see :class:`wavcube.features.engines.Processes`.

        Parameters
        ----------
        task : Task
            What to do.
        numbers : sequence of int
            Which of its shards.

        Yields
        ------
        int
            Number of a shard that is written.

        Raises
        ------
        OSError
            If a shard cannot be computed or written, or Ray fails.
        """
        ray = _import_ray()
        with _connected(ray, self.count):
            ray.data.DataContext.get_current().enable_progress_bars = False
            logging.getLogger("ray.data").setLevel(logging.ERROR)
            rows = ray.data.from_items(
                [{"shard": number} for number in numbers],
                override_num_blocks=min(len(numbers), _MOST_BLOCKS),
            ).map(
                _Actor,
                fn_constructor_args=(task, self.device),
                compute=ray.data.ActorPoolStrategy(size=min(self.count, len(numbers))),
                num_cpus=1,
                num_gpus=1 if self.device.startswith("cuda") else 0,
            )
            try:
                for row in rows.iter_rows():
                    if row["failure"]:
                        raise OSError(row["failure"])
                    yield int(row["shard"])
            except ray.exceptions.RayError as error:
                raise OSError(f"Ray: {last_line(error)}") from error


class _Actor:
    """What Ray keeps in each of its processes."""

    def __init__(self, task: Task, device: str) -> None:
        self._task, self._device = task, device

    @cached_property
    def _writer(self) -> ShardWriter:
        return ShardWriter(self._task, self._device)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        # handed back, not raised: Ray would try again what cannot go better
        failure = ""
        try:
            with one_thread():
                self._writer.write(row["shard"])
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            failure = one_line(error)
        return {"shard": row["shard"], "failure": failure}


def _import_ray() -> ModuleType:
    # it would tell its makers of every start
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ValueError(
            'Ray Data is not installed: pip install "wavcube[cluster]", or take another engine'
        ) from error
    return ray


@contextmanager
def _connected(ray: ModuleType, count: int) -> Iterator[None]:
    """Use the cluster that there is, or one of this machine alone for a while."""
    if ray.is_initialized():
        yield
        return
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if "RAY_ADDRESS" in os.environ:
        ray.init(**quiet)
    else:
        ray.init(
            "local",
            num_cpus=count,
            include_dashboard=False,
            object_store_memory=_STORE_BYTES,
            **quiet,
        )
    try:
        yield
    finally:
        ray.shutdown()
