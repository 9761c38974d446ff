"""The guard, the schedules, the average and the log, on a Brain of a few parameters."""

import math

import pytest
import torch
from speechbrain import Stage
from toy_brains import Numbers, same, toy, train, weights

from wavcube.training.ema import ExponentialMovingAverage
from wavcube.training.optimizers import OptimizerSet, SkipCounter, WarmupSchedule
from wavcube.training.run_logger import RunLogger


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_bad_batch_skips_both_optimizers_and_is_counted(precision, value):
    brain = toy(precision=precision)
    train(brain, Numbers(poison=(4, 5), value=value))
    assert brain.optimizer_step == 20
    # items 4 and 5 are one batch of the 8 of an epoch: 23 batches give 20 updates
    assert brain.guard.skipped == 3
    assert all(p.isfinite().all() for p in brain.modules.parameters())


def test_a_gradient_that_is_not_finite_in_one_optimizer_stops_the_other():
    brain = toy()
    brain.on_fit_start()
    brain.modules.generator.weight.register_hook(lambda gradient: gradient * float("inf"))
    before = weights(brain)
    brain.fit_batch(torch.randn(2, 4))
    assert same(before, weights(brain))
    assert (brain.optimizer_step, brain.guard.skipped) == (0, 1)
    assert all(not state for state in (o.state for o in brain.optimizers_dict.values()))


def test_losses_reach_their_own_optimizer_only():
    brain = toy()
    brain.on_fit_start()
    with brain.training_ctx:
        outputs = brain.compute_forward(torch.randn(2, 4), Stage.TRAIN)
        losses = brain.compute_objectives(outputs, torch.randn(2, 4), Stage.TRAIN)
    brain.steps.backward({"generator": losses["generator"]})
    assert all(p.grad is None for p in brain.modules.critic.parameters())
    assert all(p.grad is not None for p in brain.modules.generator.parameters())


def test_rates_warm_up_and_end_at_zero_after_the_updates_done():
    brain = toy(updates=12, warmup=4)
    brain.on_fit_start()
    rates = []
    for _ in range(12):
        rates.append(brain.steps.rates()["generator"])
        brain.fit_batch(torch.full((2, 4), float("nan")) if len(rates) == 3 else torch.randn(2, 4))
    peak = 0.05
    assert rates[:3] == pytest.approx([peak / 4, peak / 2, 3 * peak / 4])
    assert rates[3] == rates[2], "a skipped update must not move the schedule"
    brain.fit_batch(torch.randn(2, 4))
    assert brain.optimizer_step == 12
    assert brain.steps.rates()["generator"] == 0.0


def test_a_rate_can_stay_after_its_warm_up():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=8.0)
    schedule, rates = WarmupSchedule(optimizer, 2, 5, shape="constant"), []
    for _ in range(5):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == [4.0, 8.0, 8.0, 8.0, 8.0]


def test_a_rate_can_fall_along_a_line():
    brain = toy(updates=6, warmup=2, lr_schedule="linear")
    brain.on_fit_start()
    rates = []
    for _ in range(6):
        rates.append(brain.steps.rates()["generator"])
        brain.fit_batch(torch.randn(2, 4))
    peak = 0.05
    assert rates == pytest.approx([peak / 2, peak, peak, 0.75 * peak, 0.5 * peak, 0.25 * peak])
    assert brain.steps.rates()["generator"] == 0.0


def test_a_schedule_of_another_length_is_not_recovered():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    state = WarmupSchedule(optimizer, 1, 10).state_dict()
    with pytest.raises(ValueError, match="updates"):
        WarmupSchedule(optimizer, 1, 20).load_state_dict(state)
    with pytest.raises(ValueError, match="warm-up of 30"):
        WarmupSchedule(optimizer, 30, 20)


def test_the_average_is_what_is_validated_and_loaded(tmp_path):
    brain = toy(tmp_path, updates=8, ema_decay=0.5)
    seen = []
    forward = brain.compute_forward

    def spy(batch, stage):
        if stage == Stage.VALID:
            seen.append(weights(brain))
        return forward(batch, stage)

    brain.compute_forward = spy
    train(brain, valid=Numbers(4))
    average = {f"{k}": v for k, v in brain.ema.shadow.items()}
    assert same(seen[-1], average)
    assert not same(weights(brain), average)
    fresh = toy(tmp_path, seed=1, updates=8, ema_decay=0.5)
    scores = fresh.load_best()
    assert same(weights(fresh), average)
    assert math.isclose(scores["error"], brain.stage_scores["error"])


def test_evaluating_without_a_checkpoint_fails_loudly(tmp_path):
    with pytest.raises(FileNotFoundError, match="train first"):
        toy(tmp_path).load_best()


def test_an_unknown_best_metric_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="pesq"):
        train(toy(tmp_path, best_metric="pesq"), valid=Numbers(4))


def test_validation_scores_do_not_depend_on_the_batch_size(tmp_path):
    brain = train(toy(updates=3))
    scores = []
    for size in (1, 3):
        loader = brain.make_dataloader(Numbers(5), Stage.VALID, None, batch_size=size)
        brain._validate(loader, 1)
        scores.append(brain.stage_scores["error"])
    assert scores[0] == pytest.approx(scores[1], rel=1e-6)


def test_the_log_says_what_happened(tmp_path):
    journal = RunLogger(tmp_path / "train_log.txt", tmp_path / "tensorboard")
    train(toy(tmp_path / "save", journal, updates=8, log_every=2), Numbers(poison=(0,)), Numbers(4))
    first = (tmp_path / "train_log.txt").read_text().splitlines()[0]
    for part in ("update: 7", "seconds: ", "lr generator: ", "lr critic: ", "skipped: 1",
                 "gradient norm critic: ", "train critic gap: ", "valid error: "):  # fmt: skip
        assert part in first
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_a_bad_decay_is_refused():
    with pytest.raises(ValueError, match=r"1\.5"):
        ExponentialMovingAverage(torch.nn.Linear(1, 1), 1.5)


def test_no_checkpoint_between_the_batches_of_an_update(tmp_path):
    brain = toy(tmp_path, every=3)
    brain.grad_accumulation_factor, saved = 4, []
    brain._save_intra_epoch_ckpt = lambda: saved.append(brain.step)
    train(brain, Numbers(32), Numbers(4))
    assert saved
    assert all(step % 4 == 0 for step in saved)


def test_the_report_is_of_the_whole_run_not_of_its_best_checkpoint(tmp_path):
    settings = {"updates": 20, "best_is_highest": True}  # the error falls: the first is "best"
    brain = train(toy(tmp_path, **settings), Numbers(poison=(2,)), Numbers(4))
    made = brain.metadata()
    assert brain.load_best()["update"] < 20
    assert brain.metadata() == made
    assert (made["updates"], made["skipped"]) == (20, 3)
    again = toy(tmp_path, **settings)
    again.load_best()
    assert again.metadata() == made


def test_a_finished_run_does_nothing_more(tmp_path):
    brain = train(toy(tmp_path, updates=8), valid=Numbers(4))
    again = toy(tmp_path, seed=1, updates=8)
    again.compute_forward = None
    train(again, valid=Numbers(4))
    assert same(weights(again), weights(brain))


def scaled_set(scale, patience=2):
    weight = torch.nn.Parameter(torch.ones(2))
    optimizers = {"generator": torch.optim.SGD([weight], lr=0.5)}
    schedules = {"generator": WarmupSchedule(optimizers["generator"], 0, 10)}
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    return weight, OptimizerSet(optimizers, schedules, SkipCounter(patience, 1), scaler, -1.0)


def test_a_gradient_scaler_finds_its_scale_without_using_up_patience():
    weight, steps = scaled_set(2.0**127, patience=2)
    for _ in range(5):  # gradients of 32 overflow float32 at this scale
        steps.backward({"generator": 32.0 * weight.sum()})
        assert not steps.step()
        assert not steps.exhausted
    assert weight.tolist() == [1.0, 1.0]
    assert steps.counter.skipped == 5
    assert steps.scaler.get_scale() == 2.0**122
    steps.backward({"generator": weight.sum()})
    assert steps.step()
    assert weight.tolist() == [0.5, 0.5], "gradients are unscaled before the step"


def test_a_bad_loss_uses_up_patience_with_a_scaler_too():
    weight, steps = scaled_set(2.0, patience=2)
    for exhausted in (False, True):
        steps.backward({"generator": float("nan") * weight.sum()})
        assert not steps.step()
        assert steps.exhausted is exhausted


def test_accumulated_batches_make_one_update():
    batches = [torch.randn(2, 4) for _ in range(2)]
    grown = []
    for factor in (1, 2):
        brain = toy(updates=4)
        brain.grad_accumulation_factor = factor
        brain.compute_objectives = lambda outputs, batch, stage: {
            "generator": (outputs - batch).square().mean()
        }
        brain.compute_forward = lambda batch, stage, brain=brain: brain.modules.generator(batch)
        brain.on_fit_start()
        for brain.step, batch in enumerate(batches if factor == 2 else [torch.cat(batches)], 1):
            brain.fit_batch(batch)
        assert brain.optimizer_step == 1
        grown.append(weights(brain))
    for name in grown[0]:
        torch.testing.assert_close(grown[0][name], grown[1][name])


def test_the_bar_shows_smoothed_terms_skips_and_the_time_left(capsys):
    brain = toy(updates=12, name="toy stage")
    brain.noprogressbar = False
    train(brain, Numbers(poison=(2,)))
    last = capsys.readouterr().err.replace("\r", "\n").splitlines()[-1]
    assert last.startswith("toy stage: 100%")
    for part in ("12/12", "<00:00", "critic gap=", "loss=", "skipped=2"):
        assert part in last
