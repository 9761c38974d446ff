"""When training or a validation fails, the run returns to what was good, and goes on."""

import math

import pytest
import torch
from speechbrain import Stage
from toy_brains import Numbers, same, toy, train, weights


def test_a_row_of_bad_batches_returns_to_the_last_checkpoint(tmp_path):
    brain = toy(tmp_path, every=4, patience=2, updates=40, max_rollbacks=20)
    # batches 5 and 6 of each epoch are bad: the checkpoint after batch 4 is the last good one
    train(brain, Numbers(poison=range(8, 12)))
    assert brain.optimizer_step == 40
    assert brain.guard.rollbacks >= 1
    assert brain.guard.skipped == 2 * brain.guard.rollbacks
    assert all(p.isfinite().all() for p in brain.modules.parameters())


def test_the_rollback_restores_the_checkpoint(tmp_path):
    brain = toy(tmp_path, patience=1)
    brain.on_fit_start()
    brain.fit_batch(torch.randn(2, 4))
    saved, rates = weights(brain), brain.steps.rates()
    brain.checkpointer.save_checkpoint(end_of_epoch=False)
    brain.fit_batch(torch.randn(2, 4))
    assert not same(saved, weights(brain))
    brain.fit_batch(torch.full((2, 4), float("nan")))
    assert same(saved, weights(brain))
    assert (brain.optimizer_step, brain.steps.rates()) == (1, rates)
    assert (brain.guard.skipped, brain.guard.rollbacks) == (1, 1)


@pytest.mark.parametrize(("broken", "every"), [(4, 3), (6, 5)])
def test_nothing_is_saved_while_updates_fail(tmp_path, broken, every):
    # after this update the weights are finite and beyond help; the next checkpoint would be due
    # within the row of bad updates, in the second case at the end of an epoch of 8
    brain = toy(tmp_path, every=every, patience=4)
    step, done = brain._guarded_step, []

    def breaking():
        step()
        if brain.optimizer_step == broken and not done:
            done.append(broken)
            torch.nn.init.constant_(brain.modules.generator.weight, 1e30)

    brain._guarded_step = breaking
    train(brain)
    assert brain.optimizer_step == 20
    assert brain.guard.state() == {"skipped": 4, "in_a_row": 0, "rollbacks": 1}
    assert all(p.abs().max() < 10 for p in brain.modules.parameters())


def test_a_run_that_only_diverges_ends_with_a_clear_error(tmp_path):
    brain = toy(tmp_path, patience=2, max_rollbacks=2)
    brain.on_fit_start()
    brain.checkpointer.save_checkpoint(end_of_epoch=False)
    with pytest.raises(RuntimeError, match="training diverges"):
        train(brain, Numbers(poison=range(16)))


def test_without_a_checkpoint_to_return_to_the_error_says_so():
    with pytest.raises(RuntimeError, match="no checkpoint"):
        train(toy(patience=2), Numbers(poison=range(16)))


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
@pytest.mark.parametrize("epoch", [2, 3])
def test_a_validation_that_is_not_finite_returns_to_the_last_validated(tmp_path, epoch, score):
    # epochs end after 8, 16 and 20 updates; intra-epoch checkpoints come at 4, 8, ..., 20
    brain = toy(tmp_path, every=4)
    brain.spoilt_epochs, brain.spoilt_score, starts = (epoch,), score, {}
    start = brain.on_stage_start

    def noting(stage, number=None):
        if stage == Stage.TRAIN:
            starts[number] = brain.optimizer_step
        start(stage, number)

    brain.on_stage_start = noting
    train(brain, valid=Numbers(4))
    assert (brain.optimizer_step, brain.epochs.current) == (20, 4)
    assert starts[epoch + 1] == starts[epoch]
    assert brain.guard.state() == {"skipped": 0, "in_a_row": 0, "rollbacks": 1}
    assert math.isfinite(brain.load_best()["error"])


def test_no_return_to_what_was_saved_before_a_validation_that_was_not_finite(tmp_path):
    brain = toy(tmp_path, every=4, patience=1)
    brain.spoilt_epochs = (2,)
    fit_batch, after = brain.fit_batch, []

    def spoiling(batch):
        # the first batch after the return fails, too
        first = brain.epochs.current == 3 and not after
        loss = fit_batch(torch.full_like(batch, float("nan")) if first else batch)
        if brain.epochs.current == 3:
            after.append(brain.optimizer_step)
        return loss

    brain.fit_batch = spoiling
    train(brain, valid=Numbers(4))
    assert after[:2] == [8, 9], "epoch 1 ended with update 8, and 12 and 16 were saved after it"
    assert brain.guard.rollbacks == 2


def test_validations_that_are_never_finite_end_with_a_clear_error(tmp_path):
    brain = toy(tmp_path, max_rollbacks=2)
    brain.spoilt_epochs = range(2, 100)
    with pytest.raises(RuntimeError, match=r"'error' is nan, after 2 returns.*diverges"):
        train(brain, valid=Numbers(4))
    assert brain.checkpointer.find_checkpoint().meta["update"] == 8
    first = toy(tmp_path / "first", every=4)
    first.spoilt_epochs = (1,)
    with pytest.raises(RuntimeError, match="'error' is nan, and there is no checkpoint"):
        train(first, valid=Numbers(4))
