"""Atomic checkpoints: killed at any point, a run finds its newest complete one."""

import multiprocessing
import os
import random
import signal
import time

import pytest
import torch
from speechbrain.utils.checkpoints import METAFNAME, Checkpointer

from wavcube.training.checkpoints import AtomicCheckpointer

FORK = multiprocessing.get_context("fork")


def parts(version=-1.0):
    """Three recoverables that must always agree on their version."""
    modules = {name: torch.nn.Linear(64, 64) for name in ("model", "optimizer", "ema")}
    for module in modules.values():
        torch.nn.init.constant_(module.weight, version)
    return modules


def versions(modules):
    return {float(module.weight[0, 0].detach()) for module in modules.values()}


def save(checkpointer, version, **kwargs):
    for module in checkpointer.recoverables.values():
        torch.nn.init.constant_(module.weight, version)
    checkpointer.save_and_keep_only({"version": version}, **kwargs)


def saver(folder, pipe, kill_at):
    """Save version after version, reporting each; die at the given file system operation."""
    seen = 0

    def dying(operation):
        def wrapper(*args, **kwargs):
            nonlocal seen
            seen += 1
            if seen == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return operation(*args, **kwargs)

        return wrapper

    checkpointer = AtomicCheckpointer(folder, parts())
    save(checkpointer, 0.0)
    pipe.send(0.0)
    os.fsync, os.replace, os.rmdir = dying(os.fsync), dying(os.replace), dying(os.rmdir)
    torch.save = dying(torch.save)
    for version in range(1, 100000):
        save(checkpointer, float(version))
        pipe.send(float(version))


def run_and_kill(folder, kill_at=0, delay=0.0):
    """Run the saver until it dies; the last version it reported as saved."""
    receiver, sender = FORK.Pipe(duplex=False)
    process = FORK.Process(target=saver, args=(folder, sender, kill_at))
    process.start()
    sender.close()
    reported = receiver.recv()
    if not kill_at:
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    try:
        while True:
            reported = receiver.recv()
    except EOFError:
        return reported


def assert_resumes(folder, reported):
    modules = parts()
    assert AtomicCheckpointer(folder, modules).recover_if_possible() is not None
    assert len(versions(modules)) == 1, "parts of two checkpoints were mixed"
    # the newest reported one, or the one that was published but not yet reported
    assert versions(modules) <= {reported, reported + 1}
    leftovers = [p.name for p in folder.iterdir() if not p.name.startswith("CKPT")]
    assert leftovers == []


@pytest.mark.parametrize("kill_at", range(1, 21))
def test_killed_at_any_operation_of_a_save_resumes(tmp_path, kill_at):
    assert_resumes(tmp_path, run_and_kill(tmp_path, kill_at))


def test_killed_at_random_moments_resumes_every_time(tmp_path):
    rng = random.Random(0)
    for trial in range(20):
        folder = tmp_path / str(trial)
        assert_resumes(folder, run_and_kill(folder, delay=rng.uniform(0.0, 0.03)))


class Interrupted(torch.nn.Module):
    """Stands for a process that dies while it saves."""

    def state_dict(self, *args, **kwargs):
        raise KeyboardInterrupt


def test_speechbrain_itself_chooses_the_broken_checkpoint(tmp_path):
    # the reason for this class: the day this fails, SpeechBrain has been mended
    good = Checkpointer(tmp_path, {"model": torch.nn.Linear(2, 2)})
    good.save_checkpoint()
    broken = Checkpointer(tmp_path, {"model": Interrupted()})
    with pytest.raises(KeyboardInterrupt):
        broken.save_checkpoint()
    with pytest.raises((RuntimeError, KeyError)):
        good.recover_if_possible()


def test_an_interrupted_save_leaves_nothing_behind(tmp_path):
    modules = {"model": torch.nn.Linear(2, 2)}
    checkpointer = AtomicCheckpointer(tmp_path, modules)
    checkpointer.save_checkpoint({"version": 1})
    broken = AtomicCheckpointer(tmp_path, {**modules, "ema": Interrupted()})
    with pytest.raises(KeyboardInterrupt):
        broken.save_checkpoint({"version": 2})
    assert len(list(tmp_path.iterdir())) == 1
    assert checkpointer.recover_if_possible().meta["version"] == 1


@pytest.mark.parametrize("damage", ["truncate", "remove", "marker"])
def test_a_damaged_checkpoint_is_ignored(tmp_path, damage):
    checkpointer = AtomicCheckpointer(tmp_path, parts())
    save(checkpointer, 1.0, num_to_keep=2)
    save(checkpointer, 2.0, num_to_keep=2)
    newest = checkpointer.find_checkpoint().path
    if damage == "truncate":
        os.truncate(newest / "model.ckpt", 100)
    elif damage == "remove":
        (newest / "ema.ckpt").unlink()
    else:
        (newest / METAFNAME).write_text("unixtime: [")
    assert checkpointer.recover_if_possible().meta["version"] == 1.0
    assert versions(checkpointer.recoverables) == {1.0}


def test_the_best_is_kept_beside_the_newest(tmp_path):
    checkpointer = AtomicCheckpointer(tmp_path, parts())
    for mel in (0.7, 0.5, 0.9):
        checkpointer.save_and_keep_only({"mel": mel}, min_keys=["mel"])
    assert sorted(c.meta["mel"] for c in checkpointer.list_checkpoints()) == [0.5, 0.9]
    assert checkpointer.find_checkpoint(min_key="mel").meta["mel"] == 0.5
    assert checkpointer.find_checkpoint().meta["mel"] == 0.9


@pytest.mark.parametrize("meta", [{"loss": 1.0}, {"mel": float("nan")}])
def test_a_best_key_that_cannot_rank_is_refused_before_anything_is_written(tmp_path, meta):
    checkpointer = AtomicCheckpointer(tmp_path, parts())
    with pytest.raises(ValueError, match="mel"):
        checkpointer.save_and_keep_only(meta, min_keys=["mel"])
    assert list(tmp_path.iterdir()) == []


def test_a_named_checkpoint_is_replaced(tmp_path):
    checkpointer = AtomicCheckpointer(tmp_path, parts())
    save(checkpointer, 1.0, name="best")
    save(checkpointer, 2.0, name="best")
    assert [p.name for p in tmp_path.iterdir()] == ["CKPT+best"]
    assert checkpointer.find_checkpoint().meta["version"] == 2.0


def test_a_replacement_killed_between_its_renames_keeps_the_old_one(tmp_path):
    save(AtomicCheckpointer(tmp_path, parts()), 1.0, name="best")
    (tmp_path / "CKPT+best").rename(tmp_path / "replaced-CKPT+best")
    assert AtomicCheckpointer(tmp_path, parts()).recover_if_possible().meta["version"] == 1.0


def test_a_checkpoint_without_one_of_the_parts_is_refused_by_name(tmp_path):
    AtomicCheckpointer(tmp_path, {"model": torch.nn.Linear(2, 2)}).save_checkpoint()
    more = {"model": torch.nn.Linear(2, 2), "ema": torch.nn.Linear(2, 2)}
    with pytest.raises(RuntimeError, match="ema"):
        AtomicCheckpointer(tmp_path, more).recover_if_possible()


def test_meta_that_yaml_cannot_hold_leaves_nothing_behind(tmp_path):
    with pytest.raises(Exception, match="represent"):
        AtomicCheckpointer(tmp_path, parts()).save_checkpoint({"mel": object()})
    assert list(tmp_path.iterdir()) == []
