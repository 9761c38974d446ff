"""Several processes for tests, started and ended as torchrun does, without its imports."""

from __future__ import annotations

import multiprocessing
import os
import time
from typing import Any, NamedTuple

import torch
from speechbrain.utils.run_opts import RunOptions
from torch.distributed import TCPStore

from wavcube.training.distributed import join_group, rendezvous

FORK = multiprocessing.get_context("fork")
OPTIONS = {"device": "cpu", "distributed_backend": "gloo", "noprogressbar": True}


class Ended(NamedTuple):
    """Exit codes of the processes, and what their work returned, if it did."""

    codes: list[int]
    results: list[Any]


def in_processes(folder, work, *arguments, size=2, timeout=240, group=True) -> Ended:
    """Do ``work(*arguments)`` in processes that know each other, in a group or not yet.

    When one of them fails the others are ended, as torchrun does; results are plain data and
    tensors.
    """
    folder.mkdir(parents=True, exist_ok=True)
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    told = {"WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port}
    told |= {"TORCHELASTIC_USE_AGENT_STORE": True, "GLOO_SOCKET_IFNAME": "lo"}
    workers = []
    for rank in range(size):
        environment = {**told, "RANK": rank, "LOCAL_RANK": rank}
        path = folder / f"{rank}.pt"
        path.unlink(missing_ok=True)
        given = ({key: str(value) for key, value in environment.items()}, path, group)
        workers.append(FORK.Process(target=_inside, args=(*given, work, arguments)))
        workers[-1].start()
    _watch(workers, time.monotonic() + timeout)
    paths = [folder / f"{rank}.pt" for rank in range(size)]
    results = [torch.load(path, weights_only=True) if path.exists() else None for path in paths]
    return Ended([worker.exitcode for worker in workers], results)


def _watch(workers, deadline):
    while any(worker.is_alive() for worker in workers) and time.monotonic() < deadline:
        if any(worker.exitcode for worker in workers):  # one has failed
            for worker in workers:
                worker.terminate()
        time.sleep(0.05)
    late = [worker for worker in workers if worker.is_alive()]
    for worker in late:
        worker.kill()
    for worker in workers:
        worker.join()
    assert not late, "the processes wait for each other"


def _inside(environment, path, group, work, arguments):
    torch.set_num_threads(1)  # OpenMP would wait for threads that no fork has
    os.environ.update(environment)
    run_opts = rendezvous(RunOptions.from_dictionary(OPTIONS))
    if group:
        join_group(run_opts)
    result = work(*arguments)
    draft = path.with_suffix(".draft")
    torch.save(result, draft)
    draft.rename(path)
