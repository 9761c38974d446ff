"""Enhancers: exact lengths whatever the batch, losses that fit the head, input of every kind."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import soundfile
import torch
from enhancers import RATE, enhancers, latent_enhancer, mask_enhancer, noisy_tone
from speechbrain import Stage
from speechbrain.dataio.batch import PaddedBatch

from wavcube.data.mixing.noisy import share_out_noises
from wavcube.inference import WavCubeEnhancer
from wavcube.lobes.configurable import describe
from wavcube.lobes.layers.latent_map import LatentHead
from wavcube.lobes.layers.spectrogram import MaskHead
from wavcube.metrics import PairScores
from wavcube.metrics.base import Measurement
from wavcube.release.folder import build
from wavcube.representations import LatentRepresentation, MelRepresentation
from wavcube.tasks.brain import TaskBrain
from wavcube.tasks.enhancement.model import LatentEnhancer, MaskEnhancer
from wavcube.tasks.enhancement.task import Enhancement
from wavcube.tasks.signal import gains
from wavcube.tasks.task import TaskSettings
from wavcube.testing import tiny_wavcube, tone

LENGTHS = [8000, 3001, 1, 319, 4800]
KINDS = list(enhancers())
CPU = {"device": "cpu"}


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_batch_of_one_equals_the_item_in_a_batch_of_five(kind):
    model = enhancers()[kind].eval()
    size = max(LENGTHS) + 100
    wavs = torch.randn(len(LENGTHS), size)  # the padding too
    for row, length in zip(wavs, LENGTHS, strict=True):
        row[:length] = tone(length / RATE, length)
    lens = torch.tensor(LENGTHS) / size
    enhanced = model(wavs, lens)
    assert enhanced.shape == wavs.shape
    for place, length in enumerate(LENGTHS):
        alone = model(wavs[place : place + 1, :length])
        assert alone.shape == (1, length)
        torch.testing.assert_close(enhanced[place, :length], alone[0], rtol=0, atol=1e-4)
        assert not enhanced[place, length:].any()
    assert enhanced.abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_config_builds_the_same_enhancer(kind):
    model = enhancers()[kind].eval()
    twin = build(describe(model)).eval()
    twin.load_state_dict(model.state_dict())
    wavs = torch.stack([tone(0.2, seed) for seed in (1, 2)])
    torch.testing.assert_close(twin(wavs), model(wavs))


def test_heads_that_do_not_fit_are_refused():
    mel = MelRepresentation(num_mel_bins=8)
    with pytest.raises(ValueError, match=r"width 9 every 320 samples, .* width 16 every 320"):
        MaskEnhancer(mel, MaskHead(9, 320, hidden_dim=4, num_layers=1))
    with pytest.raises(ValueError, match="width 16 every 160"):
        MaskEnhancer(mel, MaskHead(16, 160, hidden_dim=4, num_layers=1))
    with pytest.raises(ValueError, match="one source, the head gives 2"):
        MaskEnhancer(mel, MaskHead(16, 320, 2, hidden_dim=4, num_layers=1))
    with pytest.raises(ValueError, match="take the representation wavcube, not MelRepresentation"):
        LatentEnhancer(mel, LatentHead(16, hidden_dim=4))
    with pytest.raises(ValueError, match=r"latents of width 9, .* width 8"):
        LatentEnhancer(LatentRepresentation(tiny_wavcube()), LatentHead(9, hidden_dim=4))


def brain_of(model, weights, best_metric="loss", updates=30, lr=1e-2):
    settings = TaskSettings(updates=updates, lr=lr, weights=weights, best_metric=best_metric)
    options = {"device": "cpu", "max_grad_norm": 5.0}
    return TaskBrain(Enhancement(), model, settings, torch.optim.AdamW, run_opts=options)


def a_batch(seconds=(0.4, 0.3), seeds=(1, 2)):
    items = []
    for duration, seed in zip(seconds, seeds, strict=True):
        clean, noisy = noisy_tone(duration, seed)
        items.append({"id": f"u{seed}", "wav": noisy, "clean": clean})
    return PaddedBatch(items)


@pytest.mark.parametrize(
    ("make", "weights"),
    [
        (mask_enhancer, {"phase_sensitive": 1.0}),
        (mask_enhancer, {"mel": 1.0}),
        (latent_enhancer, {"latent": 1.0}),
    ],
)
def test_every_loss_term_learns(make, weights):
    brain, batch = brain_of(make(), weights), a_batch()
    frozen = {k: v.clone() for k, v in brain.model.representation.state_dict().items()}
    brain.on_fit_start()
    losses = [float(brain.fit_batch(batch)) for _ in range(30)]
    assert losses[-1] < 0.8 * losses[0]
    assert all(frozen[k].equal(v) for k, v in brain.model.representation.state_dict().items())


def test_padding_changes_no_loss():
    model = mask_enhancer()
    brain = brain_of(model, {"phase_sensitive": 1.0, "mel": 1.0})
    with torch.no_grad():
        losses = []
        for batch in (a_batch(), a_batch((0.4,), (1,)), a_batch((0.3,), (2,))):
            masks = brain.compute_forward(batch, Stage.VALID)
            losses.append(float(brain.compute_objectives(masks, batch, Stage.TRAIN)))
    # frames of the mel term count alike, items of the other: near the mean, whatever the padding
    assert losses[0] == pytest.approx((losses[1] + losses[2]) / 2, rel=0.02)


def test_fine_tuning_aims_at_what_the_decoder_knows():
    brain = brain_of(latent_enhancer(unfreeze_at=0, lr=1e-2), {"latent": 1.0}, updates=2)
    own = brain.model.representation.model
    before = {k: v.clone() for k, v in own.state_dict().items()}
    brain.on_fit_start()
    for _ in range(2):
        brain.fit_batch(a_batch())
    after, target = own.state_dict(), brain.task.target.model.state_dict()
    changed = {k for k in before if not before[k].equal(after[k])}
    assert any(k.startswith("bottleneck.") for k in changed)
    assert not any(k.startswith("decoder.") for k in changed)
    assert all(before[k].equal(target[k]) for k in before)


@pytest.mark.parametrize(
    ("make", "weights", "best", "message"),
    [
        (
            mask_enhancer,
            {"latent": 1.0},
            "loss",
            r"learns by \['mel', 'phase_sensitive', 'si_sdr'\]",
        ),
        (latent_enhancer, {"phase_sensitive": 1.0}, "loss", r"learns by \['latent', 'mel'\]"),
        (mask_enhancer, {}, "loss", "not by the loss terms"),
        (mask_enhancer, {"mel": 1.0}, "wer", "best_metric 'wer' is not one of"),
    ],
)
def test_settings_that_do_not_fit_are_refused(make, weights, best, message):
    with pytest.raises(ValueError, match=message):
        brain_of(make(), weights, best)


def test_validation_scores_each_utterance(caplog):
    brain = brain_of(mask_enhancer(), {"phase_sensitive": 1.0}, best_metric="stoi")
    assert brain.settings.best_is_highest
    brain.modules.eval()
    batch = a_batch((1.0, 0.2))
    with caplog.at_level(logging.WARNING), torch.no_grad():
        brain.on_stage_start(Stage.VALID, 1)
        brain.evaluate_batch(batch, Stage.VALID)
        brain.on_stage_end(Stage.VALID, 0.0, 1)
    # of the short one there is no STOI, and it is said why
    assert 0 < brain.stage_scores["stoi"] <= 1
    assert {"mel", "si_sdr"} < brain.stage_scores.keys()
    assert "1 utterances have no score, such as u2" in caplog.text
    with torch.no_grad():
        brain.on_stage_start(Stage.VALID, 2)
        brain.evaluate_batch(a_batch((0.2,), (2,)), Stage.VALID)
        brain.on_stage_end(Stage.VALID, 0.0, 2)
    assert np.isnan(brain.stage_scores["stoi"])


def test_gains_are_better_when_positive():
    def scores(**values):
        measured = {key: Measurement(value) for key, value in values.items() if value is not None}
        failed = {key: "silent" for key, value in values.items() if value is None}
        return PairScores("a", RATE, measured, failed)

    before = [scores(stoi=0.5, mel_distance=1.0, pesq_wb=None)]
    found = gains(before, [scores(stoi=0.7, mel_distance=0.4, pesq_wb=2.0)])
    means = {title: summary.mean for title, summary in found.items()}
    assert means["STOI gain"] == pytest.approx(0.2)
    assert means["Log-mel distance gain [neper]"] == pytest.approx(0.6)
    assert means["PESQ-WB gain [MOS]"] is None
    assert found["PESQ-WB gain [MOS]"].failed == (("a", "silent"),)


def write_noises(folder, names):
    for name in names:
        path = folder / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * np.random.default_rng(1).standard_normal(800), 8000)


def test_noises_are_shared_out_once(tmp_path):
    write_noises(tmp_path / "flat", [f"n{i}" for i in range(20)])
    found = share_out_noises(tmp_path / "flat")
    assert {role: len(rows) for role, rows in found.items()} == {"train": 16, "valid": 2, "test": 2}
    assert len({row.wav for rows in found.values() for row in rows}) == 20
    assert found == share_out_noises(tmp_path / "flat")
    write_noises(tmp_path / "own", ["train/a", "valid/b", "test/c"])
    assert [row.ID for row in share_out_noises(tmp_path / "own")["test"]] == ["c"]
    write_noises(tmp_path / "two", ["a", "b"])
    with pytest.raises(ValueError, match=r"has 2 files: .* one each"):
        share_out_noises(tmp_path / "two")
    write_noises(tmp_path / "part", ["train/a", "test/c"])
    with pytest.raises(FileNotFoundError, match="folders for train, test, but none for valid"):
        share_out_noises(tmp_path / "part")


@pytest.fixture(scope="module")
def user():
    return WavCubeEnhancer({"model": enhancers()["mask on mel"]}, run_opts=CPU)


CLIPPED = torch.full((1, 4000), 1.0) * torch.sign(tone(0.25, 1))


@pytest.mark.parametrize(
    ("name", "wavs", "options", "expected"),
    [
        ("silent", torch.zeros(1, 4000), {}, (1, 4000)),
        ("one sample", torch.ones(1, 1), {}, (1, 1)),
        ("shorter than a frame", tone(0.01)[None], {}, (1, 160)),
        ("clipped", CLIPPED, {}, (1, 4000)),
        ("a waveform alone", tone(0.25), {}, (1, 4000)),
        ("8 kHz", tone(0.25)[None, ::2], {"sample_rate": 8000}, (1, 4000)),
        ("44.1 kHz", torch.randn(1, 44100), {"sample_rate": 44100}, (1, 16000)),
        ("NaN", torch.tensor([[0.0, torch.nan, 0.0]]), {}, "NaN or infinite"),
        ("infinite", torch.tensor([[0.0, torch.inf, 0.0]]), {}, "NaN or infinite"),
        ("stereo", torch.zeros(1, 2, 100), {}, "average the channels"),
        ("channels last", torch.zeros(100, 2), {}, "average the channels"),
        ("integers", torch.zeros(1, 100, dtype=torch.int16), {}, "floating point"),
        ("empty", torch.zeros(1, 0), {}, "hold no samples"),
        ("no rate", torch.zeros(1, 100), {"sample_rate": 0}, "rate"),
        ("lengths", torch.zeros(1, 100), {"wav_lens": torch.tensor([1.5])}, r"\(0, 1\]"),
    ],
)
def test_input_of_every_kind_is_defined(user, name, wavs, options, expected):
    del name
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            user.enhance_batch(wavs, **options)
        return
    enhanced = user.enhance_batch(wavs, **options)
    assert enhanced.shape == expected
    assert enhanced.isfinite().all()
    if not wavs.any():
        assert not enhanced.any()


def test_files_of_every_kind_are_defined(user, tmp_path):
    left, right = (tone(0.3, seed) for seed in (1, 2))
    soundfile.write(tmp_path / "stereo.wav", torch.stack([left, right], 1).numpy(), RATE)
    soundfile.write(tmp_path / "mono.flac", ((left + right) / 2).numpy(), RATE, subtype="PCM_24")
    enhanced = user.enhance_file(tmp_path / "stereo.wav", tmp_path / "out" / "a.wav")
    assert enhanced.shape == (1, 4800)
    torch.testing.assert_close(
        enhanced, user.enhance_file(tmp_path / "mono.flac"), rtol=0, atol=1e-3
    )
    written, rate = soundfile.read(tmp_path / "out" / "a.wav", dtype="float32")
    assert rate == RATE
    np.testing.assert_allclose(written, enhanced[0].clamp(-1, 1), atol=1e-4)
    with pytest.raises(FileNotFoundError, match=r"none\.wav"):
        user.enhance_file(tmp_path / "none.wav", tmp_path / "out" / "b.wav")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        user.enhance_file(tmp_path / "stereo.wav", tmp_path / "out" / "a.wav")
    with pytest.raises(ValueError, match="txt"):
        user.enhance_file(tmp_path / "stereo.wav", tmp_path / "a.txt")
