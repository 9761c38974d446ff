"""Processes that work side by side: one that dies is told of, and none outlives the first."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from wavcube.utils.processes import one_thread, parallel_map

LABEL = []


def set_label(text):
    LABEL.append(text)


def describe(item):
    return item, os.getpid(), torch.get_num_threads(), "".join(LABEL)


def die(item):
    if item == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def die_beside_another(item):
    number, folder = item
    if number == 0:
        wait_for(lambda: list(Path(folder).iterdir()))
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 1:
        (Path(folder) / str(os.getpid())).touch()
        ctypes.PyDLL(None).sleep(30)  # no other thread of this process runs meanwhile


def report_and_sleep(folder):
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(600)


def report_or_sleep(folder):
    if list(Path(folder).iterdir()):
        report_and_sleep(folder)
    (Path(folder) / "first").touch()


def wait_for(condition, seconds=60):
    stop = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < stop, "it has not happened in time"
        time.sleep(0.05)


def is_running(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_results_come_in_order_from_processes_that_were_set_up():
    results = list(parallel_map(describe, range(5), 2, set_label, ("here",)))
    assert [result[0] for result in results] == list(range(5))
    assert os.getpid() not in {result[1] for result in results}
    assert {result[2:] for result in results} == {(1, "here")}


def test_one_thread_is_for_a_while():
    before, variable = torch.get_num_threads(), os.environ.get("MKL_NUM_THREADS")
    with one_thread():
        assert torch.get_num_threads() == 1
        assert os.environ["MKL_NUM_THREADS"] == "1"
    assert torch.get_num_threads() == before
    assert os.environ.get("MKL_NUM_THREADS") == variable


def test_a_dead_process_is_an_error():
    with pytest.raises(ChildProcessError, match="died"):
        list(parallel_map(die, range(4), 1))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc here")
def test_no_process_outlives_one_that_dies(tmp_path):
    with pytest.raises(ChildProcessError, match="died"):
        # many wait, so that marking them as failed takes a while
        list(parallel_map(die_beside_another, ((i, str(tmp_path)) for i in range(10_000)), 2))
    (worker,) = (int(path.name) for path in tmp_path.iterdir())
    assert not is_running(worker)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc here")
def test_work_ends_when_no_result_is_wanted_any_more(tmp_path):
    results = parallel_map(report_or_sleep, [str(tmp_path)] * 2, 1)
    next(results)
    wait_for(lambda: len(list(tmp_path.iterdir())) == 2)
    (worker,) = (int(path.name) for path in tmp_path.iterdir() if path.name != "first")
    assert is_running(worker)
    results.close()
    assert not is_running(worker)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc here")
def test_no_process_outlives_one_that_is_killed(tmp_path):
    code = (
        "import sys; from test_processes import report_and_sleep; "
        "from wavcube.utils.processes import parallel_map\n"
        "if __name__ == '__main__': list(parallel_map(report_and_sleep, [sys.argv[1]] * 2, 2))\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    pids = tmp_path / "pids"
    pids.mkdir()
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    with subprocess.Popen(
        [sys.executable, str(script), str(pids)], env={**os.environ, "PYTHONPATH": paths}
    ) as first:
        wait_for(lambda: len(list(pids.iterdir())) == 2)
        workers = [int(path.name) for path in pids.iterdir()]
        assert all(map(is_running, workers))
        first.kill()
    wait_for(lambda: not any(map(is_running, workers)))
