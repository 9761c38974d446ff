"""A recogniser's training: best checkpoint by its metric, what is stored, fine-tuning, the loss."""

import pytest
import torch
from recognizers import TEXT, random_recognizer, spell
from speechbrain import Stage

from wavcube.data.manifest import Utterance
from wavcube.data.tokens import train_tokens
from wavcube.representations import MelRepresentation, SSLRepresentation
from wavcube.tasks.brain import TaskBrain, TrainedWeights
from wavcube.tasks.recognition.task import Recognition, count_errors, new_counts
from wavcube.tasks.task import TaskSettings
from wavcube.tasks.utterances import LabelledDataset
from wavcube.testing import tiny_ssl_encoder
from wavcube.training.checkpoints import AtomicCheckpointer

WAVS = {text: spell(text) for text in TEXT}


@pytest.fixture
def tokens(tmp_path):
    return train_tokens(TEXT, tmp_path / "tokens")


def dataset(tokens, items=None, batch_size=2):
    rows = [Utterance(text, len(wav) / 16000, text, wrd=text) for text, wav in WAVS.items()]
    labels = {row.ID: tokens.encode(row.wrd) for row in rows}
    read = lambda row: {"wav": WAVS[row.wrd]}  # noqa: E731
    return LabelledDataset(rows, labels, read, items, batch_size, seed=3)


def recognition(tokens):
    task = Recognition()
    task.tokens = tokens
    return task


def brain(tokens, folder=None, representation=None, dim=8, **settings):
    options = {"updates": 6, "lr": 1e-2, "best_metric": "cer", **settings}
    return TaskBrain(
        recognition(tokens),
        random_recognizer(len(tokens), representation, dim=dim),
        TaskSettings(**options),
        torch.optim.AdamW,
        run_opts={"device": "cpu", "noprogressbar": True, "ckpt_interval_steps": 2},
        checkpointer=None if folder is None else AtomicCheckpointer(folder),
    )


def fit(trained, tokens, per_epoch=6):
    data, valid = dataset(tokens, per_epoch), dataset(tokens)
    loaders = [{"batch_size": 2, "collate_fn": each.collate} for each in (data, valid)]
    trained.fit(trained.epochs, data, valid, None, *loaders)
    return trained


def test_an_unknown_metric_is_refused_before_training(tokens):
    with pytest.raises(
        ValueError, match=r"best_metric 'bleu' is not one of .*'cer', 'loss', 'wer'"
    ):
        brain(tokens, best_metric="bleu")


def test_another_tokenizer_is_refused(tokens, tmp_path):
    other = train_tokens(["XYZ"], tmp_path / "other")
    with pytest.raises(ValueError, match=rf"head has {len(tokens)} tokens, the tokenizer 4"):
        TaskBrain(
            recognition(other),
            random_recognizer(len(tokens)),
            TaskSettings(updates=1, lr=1.0),
            torch.optim.SGD,
        )


def test_it_learns_a_handful_of_utterances_by_heart(tokens):
    trained = brain(tokens, dim=32, updates=300, lr=1e-2, warmup=10)
    fit(trained, tokens, per_epoch=600)
    assert trained.stage_scores["cer"] < 20
    assert trained.stage_scores["wer"] < 60


@pytest.mark.parametrize("metric", ["wer", "cer", "loss"])
def test_the_best_checkpoint_is_the_one_that_the_metric_names(tokens, tmp_path, metric):
    trained = brain(tokens, tmp_path / "save", updates=12, best_metric=metric)
    scores = []
    log = trained._log_epoch
    trained._log_epoch = lambda epoch: (scores.append(dict(trained.stage_scores)), log(epoch))
    fit(trained, tokens)
    assert len(scores) == 4
    assert trained.load_best()[metric] == min(score[metric] for score in scores)


def test_checkpoints_hold_what_is_trained(tokens, tmp_path):
    frozen = SSLRepresentation(tiny_ssl_encoder())
    trained = fit(brain(tokens, tmp_path / "a", frozen), tokens)
    names = TrainedWeights(trained.model).state()
    assert {name.split(".")[0] for name in names} == {"head", "representation"}
    assert [name for name in names if "representation" in name] == ["representation.mix.logits"]
    tuned = SSLRepresentation(tiny_ssl_encoder(), unfreeze_at=3, lr=1e-3)
    names = TrainedWeights(brain(tokens, tmp_path / "b", tuned).model).state()
    assert any(name.startswith("representation.model.") for name in names)


def test_the_representation_is_fine_tuned_from_its_update_on(tokens, tmp_path):
    own = SSLRepresentation(tiny_ssl_encoder(), unfreeze_at=3, lr=1e-3)
    before = {name: p.clone() for name, p in own.model.named_parameters()}
    trained = brain(tokens, tmp_path / "save", own)
    steps = []
    update = trained.on_fit_batch_end

    def note(*arguments):
        changed = any(not p.equal(before[name]) for name, p in own.model.named_parameters())
        steps.append((trained.optimizer_step, changed))
        update(*arguments)

    trained.on_fit_batch_end = note
    fit(trained, tokens)
    assert steps == [(step, step > 3) for step in range(1, 7)]
    rates = trained.steps.rates()
    assert set(rates) == {"head", "mix", "representation"}


def test_a_resumed_run_equals_one_that_was_not_interrupted(tokens, tmp_path):
    own = lambda: SSLRepresentation(tiny_ssl_encoder(), unfreeze_at=2, lr=1e-3)  # noqa: E731
    weights = []
    for folder, stops in (("whole", [None]), ("parts", [3, None])):
        for stop in stops:
            torch.manual_seed(0)
            trained = brain(tokens, tmp_path / folder, own())
            if stop is not None:
                trained.optimizer_step_limit = stop
            torch.manual_seed(1)
            fit(trained, tokens)
        weights.append(trained.model.state_dict())
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])


def test_states_of_a_cache_give_the_loss_of_waveforms(tokens):
    own = SSLRepresentation(tiny_ssl_encoder())
    trained = brain(tokens, representation=own)
    trained.modules.eval()
    items = [dataset(tokens)[index] for index in range(3)]
    cached = []
    for item in items:
        states, _ = own.states(item["wav"][None])
        rest = {key: value for key, value in item.items() if key != "wav"}
        cached.append({**rest, "states": states[0].transpose(0, 1)})
    losses = []
    for batch in (items, cached):
        batch = dataset(tokens).collate(batch)
        trained.on_stage_start(Stage.VALID)
        with torch.no_grad():
            made = trained.compute_forward(batch, Stage.VALID)
            losses.append(trained.compute_objectives(made, batch, Stage.VALID))
    torch.testing.assert_close(*losses, atol=1e-5, rtol=0)


def test_rates_are_of_all_words_together():
    errors = new_counts()
    count_errors(errors, ["a", "b"], ["X", "A B C"], ["A", "A B C"])
    assert errors["wer"].summarize("error_rate") == 25.0
    assert errors["cer"].summarize("error_rate") == pytest.approx(100 / 6)


def test_every_utterance_comes_once_before_any_comes_again(tokens):
    data = dataset(tokens, items=3)
    names = []
    for epoch in range(10):
        data.set_epoch(epoch)
        names += [data[index]["id"] for index in range(len(data))]
    for start in range(0, 30, 5):
        assert sorted(names[start : start + 5]) == sorted(TEXT)
    assert names[:5] != names[5:10] or names[5:10] != names[10:15]
    again = dataset(tokens, items=3)
    again.set_epoch(7)
    assert [again[index]["id"] for index in range(3)] == names[21:24]


def test_neighbours_are_of_similar_length(tokens):
    rows = [Utterance(str(i), 1 + (i * 37 % 100) / 10, "", wrd="A") for i in range(96)]
    labels = {row.ID: [1] for row in rows}
    lengths = {row.ID: row.duration for row in rows}
    read = lambda row: {"wav": torch.zeros(1)}  # noqa: E731
    data = LabelledDataset(rows, labels, read, items_per_epoch=96, batch_size=4, seed=0)
    drawn = [lengths[data[index]["id"]] for index in range(96)]
    spreads = [max(drawn[i : i + 4]) - min(drawn[i : i + 4]) for i in range(0, 96, 4)]
    assert sum(spreads) / len(spreads) < 2.5, "in random order it is about 6"


def test_a_mel_representation_has_nothing_to_fine_tune():
    with pytest.raises(ValueError, match="MelRepresentation is not fine-tuned"):
        MelRepresentation().tuned(0, 1e-4)
