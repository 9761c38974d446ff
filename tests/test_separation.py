"""Training of separators, and the class for users: assignments, settings, input of every kind."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import soundfile
import torch
from separators import RATE, latent_separator, mask_separator, separators, two_tones
from speechbrain import Stage
from speechbrain.dataio.batch import PaddedBatch

from wavcube.representations import MelRepresentation
from wavcube.tasks import signal
from wavcube.tasks.brain import TaskBrain
from wavcube.tasks.separation.inference import WavCubeSeparator
from wavcube.tasks.separation.task import Separation
from wavcube.tasks.task import TaskSettings
from wavcube.testing import tone

CPU = {"device": "cpu"}


def mask_on_mel():
    return mask_separator(MelRepresentation(num_mel_bins=8), with_spectrum=True)


def waveform():
    return separators()["waveform"]


def brain_of(model, weights, best_metric="loss", updates=30, lr=1e-2):
    settings = TaskSettings(updates=updates, lr=lr, weights=weights, best_metric=best_metric)
    options = {"device": "cpu", "max_grad_norm": 5.0}
    return TaskBrain(Separation(), model, settings, torch.optim.AdamW, run_opts=options)


def a_batch(seconds=(0.4, 0.3), seeds=(1, 2), swapped=False):
    items = []
    for duration, seed in zip(seconds, seeds, strict=True):
        mixture, sources = two_tones(duration, seed)
        sources = sources.flip(1) if swapped else sources
        items.append({"id": f"u{seed}", "wav": mixture, "sources": sources})
    return PaddedBatch(items)


@pytest.mark.parametrize(
    ("make", "weights", "less"),
    [
        (mask_on_mel, {"phase_sensitive": 1.0}, lambda first: 0.8 * first),
        (mask_on_mel, {"si_sdr": 1.0}, lambda first: first - 1.0),
        (mask_on_mel, {"si_sdr": 1.0, "phase_sensitive": 0.1}, lambda first: first - 1.0),
        (latent_separator, {"latent": 1.0}, lambda first: 0.9 * first),
        (latent_separator, {"mel": 1.0}, lambda first: 0.95 * first),
        (waveform, {"si_sdr": 1.0}, lambda first: first - 1.0),
    ],
)
def test_every_loss_term_learns(make, weights, less):
    torch.manual_seed(1)
    brain, batch = brain_of(make(), weights), a_batch()
    frozen = {k: v.clone() for k, v in brain.model.representation.state_dict().items()}
    brain.on_fit_start()
    losses = [float(brain.fit_batch(batch)) for _ in range(30)]
    assert losses[-1] < less(losses[0])
    assert all(frozen[k].equal(v) for k, v in brain.model.representation.state_dict().items())


@torch.no_grad()
@pytest.mark.parametrize(
    ("make", "weights"),
    [
        (mask_on_mel, {"phase_sensitive": 1.0, "si_sdr": 1.0}),
        (latent_separator, {"latent": 1.0, "mel": 1.0}),
        (waveform, {"si_sdr": 1.0}),
    ],
)
def test_neither_order_nor_padding_changes_a_loss(make, weights):
    brain = brain_of(make(), weights)
    brain.modules.eval()

    def loss(*arguments, **options):
        batch = a_batch(*arguments, **options)
        estimates = brain.compute_forward(batch, Stage.TRAIN)
        return float(brain.compute_objectives(estimates, batch, Stage.TRAIN))

    both, swapped = loss(), loss(swapped=True)
    assert both == pytest.approx(swapped, rel=1e-5)
    assert both == pytest.approx((loss((0.4,), (1,)) + loss((0.3,), (2,))) / 2, rel=1e-4)


def test_terms_share_one_assignment(monkeypatch):
    """One term prefers the crossed assignment a little, the other the straight one a lot."""
    brain = brain_of(mask_on_mel(), {"phase_sensitive": 1.0, "si_sdr": 1.0})
    crossed = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    straight = torch.tensor([[[0.0, 9.0], [9.0, 0.0]]])
    monkeypatch.setattr(signal, "_phase_sensitive", lambda *_: crossed)
    monkeypatch.setattr(signal, "pairwise_si_sdr", lambda *_: straight)
    terms = brain.compute_forward(a_batch((0.2,), (1,)), Stage.TRAIN)
    assert {name: float(term) for name, term in terms.items()} == {
        "phase_sensitive": 1.0,
        "si_sdr": 0.0,
    }


def test_fine_tuning_aims_at_what_the_decoder_knows():
    brain = brain_of(latent_separator(unfreeze_at=0, lr=1e-2), {"latent": 1.0}, updates=2)
    own = brain.model.representation.model
    before = {k: v.clone() for k, v in own.state_dict().items()}
    brain.on_fit_start()
    for _ in range(2):
        brain.fit_batch(a_batch())
    after, target = own.state_dict(), brain.task.target.model.state_dict()
    assert any(not before[k].equal(after[k]) for k in before if k.startswith("bottleneck."))
    assert all(before[k].equal(target[k]) for k in before)


@pytest.mark.parametrize(
    ("make", "weights", "best", "message"),
    [
        (mask_on_mel, {"latent": 1.0}, "loss", r"learns by \['mel', 'phase_sensitive', 'si_sdr'\]"),
        (latent_separator, {"si_sdr": 1.0}, "loss", r"learns by \['latent', 'mel'\]"),
        (waveform, {}, "loss", "not by the loss terms"),
        (mask_on_mel, {"si_sdr": 1.0}, "wer", "best_metric 'wer' is not one of"),
    ],
)
def test_settings_that_do_not_fit_are_refused(make, weights, best, message):
    with pytest.raises(ValueError, match=message):
        brain_of(make(), weights, best)


@torch.no_grad()
def test_validation_finds_one_permutation_by_si_sdr(caplog):
    brain = brain_of(mask_on_mel(), {"si_sdr": 1.0}, best_metric="stoi")
    assert brain.settings.best_is_highest
    batch = a_batch((1.0, 0.2))
    mixtures, sources = batch.wav.data, batch.sources.data.transpose(1, 2)
    # the sources in the other order, with something of the mixture
    brain.model.render = lambda *_: sources.flip(1) + 0.1 * mixtures[:, None]
    brain.modules.eval()
    with caplog.at_level(logging.WARNING):
        brain.on_stage_start(Stage.VALID, 1)
        brain.evaluate_batch(batch, Stage.VALID)
        brain.on_stage_end(Stage.VALID, 0.0, 1)
    assert brain.stage_scores["si_sdr"] > 15
    assert brain.stage_scores["si_sdr_improvement"] > 15
    assert brain.stage_scores["stoi"] > 0.9
    # the short one has no STOI, and it is said why
    assert "1 mixtures have no score, such as u2" in caplog.text


@pytest.fixture(scope="module")
def user():
    return WavCubeSeparator({"model": separators()["mask with spectrum"]}, run_opts=CPU)


CLIPPED = torch.sign(tone(0.25, 1))[None]


@pytest.mark.parametrize(
    ("name", "wavs", "options", "expected"),
    [
        ("silent", torch.zeros(1, 4000), {}, (1, 4000, 2)),
        ("one sample", torch.ones(1, 1), {}, (1, 1, 2)),
        ("shorter than a frame", tone(0.01)[None], {}, (1, 160, 2)),
        ("clipped", CLIPPED, {}, (1, 4000, 2)),
        ("a waveform alone", tone(0.25), {}, (1, 4000, 2)),
        ("8 kHz", tone(0.25)[None, ::2], {"sample_rate": 8000}, (1, 4000, 2)),
        ("44.1 kHz", torch.randn(1, 44100), {"sample_rate": 44100}, (1, 16000, 2)),
        ("NaN", torch.tensor([[0.0, torch.nan, 0.0]]), {}, "NaN or infinite"),
        ("infinite", torch.tensor([[0.0, torch.inf, 0.0]]), {}, "NaN or infinite"),
        ("stereo", torch.zeros(1, 2, 100), {}, "average the channels"),
        ("channels last", torch.zeros(100, 2), {}, "average the channels"),
        ("integers", torch.zeros(1, 100, dtype=torch.int16), {}, "floating point"),
        ("empty", torch.zeros(1, 0), {}, "hold no samples"),
        ("no rate", torch.zeros(1, 100), {"sample_rate": 0}, "rate"),
        ("lengths", torch.zeros(1, 100), {"mix_lens": torch.tensor([1.5])}, r"\(0, 1\]"),
    ],
)
def test_input_of_every_kind_is_defined(user, name, wavs, options, expected):
    del name
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            user.separate_batch(wavs, **options)
        return
    separated = user.separate_batch(wavs, **options)
    assert separated.shape == expected
    assert separated.isfinite().all()
    if not wavs.any():
        assert not separated.any()


def test_files_of_every_kind_are_defined(user, tmp_path):
    left, right = (0.5 * tone(0.3, seed) for seed in (1, 2))
    soundfile.write(tmp_path / "stereo.wav", torch.stack([left, right], 1).numpy(), RATE)
    soundfile.write(tmp_path / "mono.flac", ((left + right) / 2).numpy(), RATE, subtype="PCM_24")
    separated = user.separate_file(tmp_path / "stereo.wav", tmp_path / "out" / "a.wav")
    assert separated.shape == (1, 4800, 2)
    alone = user.separate_file(tmp_path / "mono.flac")
    torch.testing.assert_close(separated, alone, rtol=0, atol=1e-3)
    for place in (1, 2):
        written, rate = soundfile.read(tmp_path / "out" / f"a_{place}.wav", dtype="float32")
        assert rate == RATE
        np.testing.assert_allclose(written, separated[0, :, place - 1], atol=1e-4)
    assert len(list((tmp_path / "out").iterdir())) == 2
    with pytest.raises(FileNotFoundError, match=r"none\.wav"):
        user.separate_file(tmp_path / "none.wav", tmp_path / "out" / "b.wav")
    with pytest.raises(FileExistsError, match=r"a_1\.wav exists: .*overwrite=True"):
        user.separate_file(tmp_path / "stereo.wav", tmp_path / "out" / "a.wav")
    with pytest.raises(ValueError, match="txt"):
        user.separate_file(tmp_path / "stereo.wav", tmp_path / "a.txt")
    before = (tmp_path / "out" / "a_1.wav").read_bytes()
    with pytest.raises(ValueError, match=r"a_1\.wav is the input"):
        user.separate_file(tmp_path / "out" / "a_1.wav", tmp_path / "out" / "a.wav", overwrite=True)
    assert (tmp_path / "out" / "a_1.wav").read_bytes() == before
