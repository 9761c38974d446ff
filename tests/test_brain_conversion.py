"""Training of voice conversion on made-up lessons."""

import pytest
import torch
from converters import DIM, random_converter

from wavcube.tasks.brain import TaskBrain
from wavcube.tasks.conversion.data import Clip, ConversionDataset
from wavcube.tasks.conversion.task import Conversion
from wavcube.tasks.task import TaskSettings
from wavcube.training.checkpoints import AtomicCheckpointer

GENERATOR = torch.Generator().manual_seed(0)
LATENTS = {key: torch.randn(30, DIM, generator=GENERATOR) for key in ("a", "b")}
LATENTS |= {f"{key}~": 2 * LATENTS[key] + 1 for key in ("a", "b")}
CLIPS = [Clip(key, "sue", key, (f"{key}~",), torch.zeros(30, 2)) for key in ("a", "b")]


def lessons(count=16, seed=0, **changes):
    sizes = {"crop_frames": 12, "reference_frames": 20, **changes}
    return ConversionDataset(CLIPS, LATENTS.__getitem__, lessons=count, seed=seed, **sizes)


def brain(folder=None, kind="conformer", seed=0, **settings):
    settings = TaskSettings(**{"updates": 8, "lr": 3e-2, "best_metric": "latent", **settings})
    checkpointer = None if folder is None else AtomicCheckpointer(folder)
    options = {"device": "cpu", "noprogressbar": True}
    model = random_converter(kind, seed=seed)
    return TaskBrain(
        Conversion(), model, settings, torch.optim.Adam, run_opts=options, checkpointer=checkpointer
    )


def fit(trained, every=16):
    train, valid = lessons(every), lessons(4, seed=1)
    loader = {"batch_size": 4, "collate_fn": train.collate}
    trained.fit(trained.epochs, train, valid, None, loader, loader)
    return trained


@pytest.mark.parametrize("kind", ["conformer", "flow", "autoregressive"])
def test_training_lowers_what_validation_measures(tmp_path, kind):
    trained = fit(brain(tmp_path, kind, updates=40))
    found = [c.meta for c in trained.checkpointer.list_checkpoints()]
    assert {"loss", "latent", "mel"} <= found[0].keys()
    first = brain(kind=kind)
    first.on_fit_start()
    first.modules.eval()
    batch = lessons(4, seed=1)
    with torch.no_grad():
        lesson = first.task.lesson(batch.collate([batch[index] for index in range(4)]))
        before, after = (b.model.eval()(lesson=lesson) for b in (first, trained))
    assert float(after) < float(before)


def test_what_is_frozen_stays_and_is_in_no_checkpoint(tmp_path):
    trained = brain(tmp_path, ema_decay=0.9)
    before = {k: v.clone() for k, v in trained.model.state_dict().items()}
    fit(trained)
    after = trained.model.state_dict()
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed
    assert all(name.startswith("head.") for name in changed)
    saved = next(tmp_path.glob("CKPT*/model.ckpt"))
    names = torch.load(saved, weights_only=True)
    assert names.keys() == {name for name in before if not name.startswith("representation.")}


def test_embeddings_reach_the_head():
    trained = brain(kind="embedding")
    data = lessons(embeddings={"sue": torch.tensor([1.0, 0.0, 0.0])})
    lesson = trained.task.lesson(data.collate([data[0], data[1]]))
    assert lesson.voice.embedding.shape == (2, 3)
    other = lessons(embeddings={"sue": torch.tensor([0.0, 1.0, 0.0])})
    changed = trained.task.lesson(other.collate([other[0], other[1]]))
    with torch.no_grad():
        losses = [float(trained.model.eval()(lesson=part)) for part in (lesson, changed)]
    assert losses[0] != losses[1]


def test_validation_does_not_depend_on_batches():
    scores = []
    for size in (1, 4):
        judge = brain()
        judge.on_fit_start()
        judge.modules.eval()
        data = lessons(4, seed=1)
        examples = [data[index] for index in range(4)]
        with torch.no_grad():
            for start in range(0, 4, size):
                batch = data.collate(examples[start : start + size])
                for item in judge.task.scores(judge.model, batch):
                    judge.score(item)
        scores.append(judge._scores)
    for name in ("latent", "mel"):
        assert scores[0][name] == pytest.approx(scores[1][name], abs=1e-4)


def test_an_unknown_best_metric_is_refused():
    with pytest.raises(ValueError, match=r"'wer' is not one of .* \['latent', 'loss', 'mel'\]"):
        brain(best_metric="wer")
