"""How two processes wait for the first, what they say, and how they end."""

import os
import sys
import time
from functools import partial

import pytest
import torch
from several_processes import in_processes
from speechbrain.utils.run_opts import RunOptions

from wavcube.experiment.run import cleanup_on_error, exit_on_user_error
from wavcube.training.distributed import (
    BatchShare,
    global_batch_size,
    is_main,
    main_process_first,
    print_main,
    rendezvous,
    run_on_main,
)


def write_once(folder):
    """What the first process writes, the second finds; it says so alone."""
    sys.stdout = open(folder / f"said{os.environ['RANK']}.txt", "w")
    with main_process_first():
        if is_main():
            time.sleep(0.3)
            (folder / "prepared").write_text("by the first")
        found = (folder / "prepared").read_text()
    run_on_main(partial((folder / "evaluated").write_text, "by the first, too"))
    print_main(f"found {found}")
    sys.stdout.close()
    then = (folder / "evaluated").read_text()
    return {"found": found, "then": then, "size": global_batch_size(4)}


@pytest.mark.parametrize("group", [False, True])
def test_the_others_find_what_the_first_has_written(tmp_path, group):
    ended = in_processes(tmp_path / "r", write_once, tmp_path, group=group)
    expected = {"found": "by the first", "then": "by the first, too", "size": 8}
    assert ended.results == [expected] * 2
    said = [(tmp_path / f"said{rank}.txt").read_text() for rank in (0, 1)]
    assert said == ["found by the first\n", ""]


def refuse(folder, where):
    """Fail: all of them, the first alone where the second waits for it, or the second alone."""
    sys.stderr = open(folder / f"said{os.environ['RANK']}.txt", "w", buffering=1)
    with exit_on_user_error("train.py"), cleanup_on_error(folder / "run"):
        if where == "all":
            raise ValueError("no such key")
        with main_process_first():
            if where == "first":
                (folder / "run").mkdir()
                raise ValueError("no such folder")
        if where == "second" and not is_main():
            raise ValueError("no such file")
        torch.distributed.barrier()


@pytest.mark.parametrize(
    ("where", "what"), [("all", "key"), ("first", "folder"), ("second", "file")]
)
def test_a_mistake_is_told_once_and_ends_all(tmp_path, where, what):
    ended = in_processes(tmp_path / "r", refuse, tmp_path, where)
    assert 2 in ended.codes
    assert 0 not in ended.codes
    said = "".join((tmp_path / f"said{rank}.txt").read_text() for rank in (0, 1))
    assert said.count("error: ") == 1
    assert f"train.py: error: no such {what}\n" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"device": "cpu"}, "--distributed_backend=gloo"),
        ({"device": "cuda:3"}, "leave --device out"),
        ({"device": "cuda"}, "lower --nproc_per_node"),
    ],
)
def test_processes_without_a_device_each_are_refused(monkeypatch, options, remedy):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in options["device"])
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "4" if options["device"] == "cuda" else "1")
    with pytest.raises(ValueError, match=remedy):
        rendezvous(RunOptions.from_dictionary(options))


def test_a_share_needs_one_full_batch():
    with pytest.raises(ValueError, match="lower batch_size"):
        BatchShare(range(3), batch_size=2, rank=0, size=2)
