"""Heads in two processes: fine-tuned from some update on, and scored by shares."""

from functools import partial

import pytest
import torch
from enhancers import latent_enhancer, noisy_tone
from recognizers import TEXT, random_recognizer, spell
from several_processes import OPTIONS, in_processes
from speechbrain.dataio.batch import PaddedBatch
from toy_brains import same, weights

from wavcube.data.manifest import Utterance
from wavcube.data.tokens import train_tokens
from wavcube.tasks.brain import TaskBrain
from wavcube.tasks.enhancement.task import Enhancement
from wavcube.tasks.recognition.task import Recognition
from wavcube.tasks.task import TaskSettings
from wavcube.tasks.utterances import LabelledDataset

pytestmark = pytest.mark.slow

# where a gradient is zero but for rounding, Adam with its usual eps takes a whole step
ADAM = partial(torch.optim.AdamW, eps=1e-4)


def fit_enhancer(batch_size):
    """Fine-tune a latent from the third of 5 updates on."""
    torch.manual_seed(0)
    settings = TaskSettings(updates=5, lr=1e-3, weights={"latent": 1.0}, best_metric="mel")
    model = latent_enhancer(unfreeze_at=2, lr=1e-3)
    brain = TaskBrain(Enhancement(), model, settings, ADAM, run_opts=OPTIONS)
    items = []
    for seed in range(8):
        clean, noisy = noisy_tone(0.3 + 0.05 * seed, seed)
        items.append({"id": str(seed), "clean": clean, "wav": noisy})
    loaders = ({"batch_size": size, "collate_fn": PaddedBatch} for size in (batch_size, 1))
    before = weights(brain)
    brain.fit(brain.epochs, items, items[:3], None, *loaders)
    trained = [
        name for name, value in weights(brain).items() if not torch.equal(value, before[name])
    ]
    return {"weights": weights(brain), "scores": brain.stage_scores, "trained": trained}


def test_a_latent_that_is_fine_tuned_later_trains_in_both(tmp_path):
    alone = fit_enhancer(4)
    assert any("representation.model.bottleneck" in name for name in alone["trained"])
    ended = in_processes(tmp_path, fit_enhancer, 2)
    assert ended.codes == [0, 0]
    first, second = ended.results
    assert same(first, second)
    torch.testing.assert_close(first["weights"], alone["weights"], rtol=0, atol=1e-5)
    assert first["scores"] == pytest.approx(alone["scores"], rel=1e-6, abs=1e-6)


def fit_recognizer(tokens, batch_size):
    """Train on words of all lengths; error rates are those of all utterances together."""
    rows = [Utterance(text, len(spell(text)) / 16000, text, wrd=text) for text in TEXT]
    labels = {row.ID: tokens.encode(row.wrd) for row in rows}
    read = lambda row: {"wav": spell(row.wrd)}  # noqa: E731
    train = LabelledDataset(rows, labels, read, 12, batch_size=4, seed=3)
    valid = LabelledDataset(rows, labels, read)
    task = Recognition()
    task.tokens = tokens
    brain = TaskBrain(
        task,
        random_recognizer(len(tokens)),
        TaskSettings(updates=6, lr=1e-2, best_metric="cer"),
        ADAM,
        run_opts=OPTIONS,
    )
    loaders = ({"batch_size": size, "collate_fn": train.collate} for size in (batch_size, 2))
    brain.fit(brain.epochs, train, valid, None, *loaders)
    heard = {name: len(values) for name, values in brain._scores.items()}
    return {"weights": weights(brain), "scores": brain.stage_scores, "heard": heard}


def test_error_rates_are_those_of_all_shares(tmp_path):
    tokens = train_tokens(TEXT, tmp_path / "tokens")
    alone = fit_recognizer(tokens, 4)
    ended = in_processes(tmp_path / "two", fit_recognizer, tokens, 2)
    assert ended.codes == [0, 0]
    first, second = ended.results
    assert same(first, second)
    assert len(first["heard"]) == 4
    assert set(first["heard"].values()) == {len(TEXT)}
    torch.testing.assert_close(first["weights"], alone["weights"], rtol=0, atol=1e-5)
    assert first["scores"] == pytest.approx(alone["scores"], rel=1e-6, abs=1e-6)
