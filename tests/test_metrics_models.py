"""DNSMOS and UTMOS by tiny models of known outputs: windows, calibration, files, command line."""

import json
import sys

import numpy as np
import pytest
import soundfile
from mos_models import GAINS, OFFSETS, WINDOW, Mean, Outer, Pair, write_onnx, write_script

from wavcube.cli.main import main
from wavcube.metrics import (
    MetricError,
    SignalPair,
    dnsmos_metrics,
    evaluate_folders,
    score_many,
    score_pair,
    utmos_metric,
)
from wavcube.metrics.base import ModelFile, resample
from wavcube.metrics.dnsmos import _load as load_dnsmos
from wavcube.metrics.dnsmos import calibrate, cut_windows, dnsmos
from wavcube.metrics.utmos import _load as load_utmos
from wavcube.metrics.utmos import utmos
from wavcube.testing import tone

RATE = 16000
# tests write TorchScript, which torch would have replaced
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
DNSMOS_KEYS = ["dnsmos_sig", "dnsmos_bak", "dnsmos_ovrl"]


@pytest.fixture
def network(tmp_path):
    return write_onnx(tmp_path / "sig_bak_ovr.onnx")


@pytest.fixture
def script(tmp_path):
    return write_script(tmp_path / "utmos.jit", Outer())


@pytest.fixture
def folders(tmp_path):
    """Three clips, of which the second is silent and the third too short for UTMOS."""
    reference, generated = tmp_path / "reference", tmp_path / "generated"
    sizes = {"long": 0.5, "silent": 0.5, "tiny": 0.02}
    for folder in (reference, generated):
        folder.mkdir()
        for number, (name, seconds) in enumerate(sizes.items()):
            wav = tone(seconds, number).numpy()
            quiet = folder == generated and name == "silent"
            soundfile.write(folder / f"{name}.wav", 0 * wav if quiet else wav, RATE)
    return str(reference), str(generated)


@pytest.mark.parametrize(
    ("samples", "starts"),
    [
        (WINDOW, [0]),
        (10 * RATE, [0]),
        (11 * RATE - 1, [0]),  # 10.01 s would do, but only whole seconds count
        (11 * RATE, [0, 1]),
        (12 * RATE, [0, 1, 2]),
        (17 * RATE, [0, 1, 2, 3, 4, 5, 6]),  # int((7 + 9.01) * 16000) is one sample short
        (35 * RATE, [0, 1, 2, 3, 4, 5, 6, 24, 25]),
    ],
)
def test_windows_begin_every_second_as_in_the_original_script(samples, starts):
    windows = cut_windows(np.arange(samples))
    assert [window[0] for window in windows] == [RATE * start for start in starts]
    assert all(np.array_equal(np.diff(window), np.ones(WINDOW - 1)) for window in windows)


@pytest.mark.parametrize(
    ("seconds", "doubled", "count"), [(1, 16, 7), (4, 16, 7), (5, 10, 1), (6, 12, 3), (9, 18, 7)]
)
def test_a_short_clip_is_doubled_until_it_fills_a_window(seconds, doubled, count):
    wav = np.random.default_rng(0).standard_normal(seconds * RATE)
    windows = cut_windows(wav)
    assert len(windows) == count
    whole = np.tile(wav, doubled // seconds)
    for start, window in enumerate(windows):
        np.testing.assert_array_equal(window, whole[start * RATE : start * RATE + WINDOW])


def test_calibration_is_the_published_polynomial():
    # worked out by hand from the coefficients: a * x * x + b * x + c
    np.testing.assert_allclose(
        calibrate(np.array([[3.0, 3.0, 3.0], [1.0, 2.0, 4.0], [0.0, 0.0, 0.0]])),
        [
            [2.91200747, 3.24640004, 2.78345392],
            [1.14211065, 2.2955893, 3.42527879],
            [0.0052439, -0.39604546, 0.04602535],
        ],
        atol=1e-12,
    )


def test_dnsmos_is_the_mean_of_calibrated_windows(network):
    wav = np.concatenate([np.zeros(2 * RATE), np.full(10 * RATE, 0.5)])
    # three windows, of which 7.01, 8.01 and all of the 9.01 s are 0.5
    means = 0.5 * np.array([7.01, 8.01, 9.01]) / 9.01
    raw = means[:, None] * GAINS + OFFSETS
    expected = calibrate(raw).mean(axis=0)
    assert np.abs(expected - calibrate(raw.mean(axis=0))).max() > 1e-4  # not the other order
    found = dnsmos(wav, RATE, ModelFile.identify(network))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    scores = score_pair(np.ones(100), wav, RATE, dnsmos_metrics(network))
    assert list(scores) == DNSMOS_KEYS
    np.testing.assert_allclose(list(scores.values()), expected, atol=1e-5)


def test_signals_of_other_rates_are_resampled(network, script):
    wav = tone(1.0).double().numpy()
    at_48 = resample(wav, RATE, 48000)
    model = ModelFile.identify(network)
    again = resample(at_48, 48000, RATE)
    np.testing.assert_allclose(dnsmos(at_48, 48000, model), dnsmos(again, RATE, model), atol=1e-6)
    model = ModelFile.identify(script)
    assert utmos(at_48, 48000, model) == pytest.approx(utmos(wav, RATE, model), abs=0.01)
    with pytest.raises(MetricError, match="at least 400 samples"):
        utmos(at_48[:1100], 48000, model)


def test_utmos_hands_over_the_samples_of_a_16_bit_file(script):
    # the mean magnitude is 8192 of 32768; what is beyond full scale is cut, and the GPU not needed
    wav = np.tile([0.5, -0.25, 0.25, 0.0], 1000)
    model = ModelFile.identify(script)
    assert utmos(wav, RATE, model) == pytest.approx(2.0)
    assert utmos(np.array([3.0] * 500 + [-3.0] * 500), RATE, model) == pytest.approx(
        1 + (32767 + 32768) / 2 / 8192, rel=1e-6
    )


def test_utmos_gives_floats_to_a_network_that_refuses_integers(tmp_path):
    metric = utmos_metric(write_script(tmp_path / "float.jit", Mean()))
    wav = np.tile([0.5, -0.1], 500)
    assert score_pair(wav, wav, RATE, [metric])["utmos"] == pytest.approx(0.2)


def test_a_clip_that_utmos_cannot_rate_is_listed(script):
    wav = tone(0.5).double().numpy()
    scores = score_pair(wav, wav[:399], RATE, [utmos_metric(script), "stoi"])
    assert "cannot rate" in scores.failures["utmos"]
    assert "at least 400 samples" in scores.failures["utmos"]
    assert "\n" not in scores.failures["utmos"]
    nan = write_onnx(script.with_name("nan.onnx"), gains=np.full(3, np.inf, dtype=np.float32))
    scores = score_pair(wav, 0.5 + 0 * wav, RATE, dnsmos_metrics(nan))
    assert "DNSMOS P.835 SIG gave" in scores.failures["dnsmos_sig"]


def test_a_model_that_changes_meanwhile_is_a_failure(network, script):
    wav = tone(0.5).double().numpy()
    metrics = [*dnsmos_metrics(network), utmos_metric(script)]
    write_onnx(network, gains=2 * GAINS)
    script.unlink()
    load_dnsmos.cache_clear()
    load_utmos.cache_clear()
    failures = score_pair(wav, wav, RATE, metrics).failures
    assert "changed during the evaluation" in failures["dnsmos_ovrl"]
    assert "cannot be read" in failures["utmos"]


def test_order_and_number_of_processes_change_nothing(network, script):
    metrics = ["mel_distance", *dnsmos_metrics(network), utmos_metric(script)]
    clips = [tone(0.3 * (1 + i), i).double().numpy() for i in range(3)]
    pairs = [SignalPair(str(i), clip, clip, RATE) for i, clip in enumerate(clips)]
    alone = score_many(pairs, metrics, progress=False)
    together = score_many(pairs[::-1], metrics, num_processes=2, progress=False)[::-1]
    assert [dict(scores) for scores in alone] == [dict(scores) for scores in together]
    assert [len(scores) for scores in together] == [5, 5, 5]
    assert len({scores["utmos"] for scores in together}) == 3


def test_the_command_adds_them_with_the_models_hashes(network, script, folders, tmp_path, capsys):
    out, page = tmp_path / "scores.json", tmp_path / "page.html"
    command = ["evaluate", *folders, "--json", str(out), "--html", str(page)]
    command += ["--metrics", "mel_distance", "--dnsmos", str(network), "--utmos", str(script)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "| DNSMOS P.835 OVRL [MOS] ↑" in printed
    assert "400 samples of 16 bits [UTMOS]: tiny" in printed
    assert "silent (peak 0.0e+00 < 1e-04) [every metric]: silent" in printed
    stored = json.loads(out.read_text(encoding="utf-8"))
    assert list(stored["metrics"]) == ["mel_distance", *DNSMOS_KEYS, "utmos"]
    assert stored["metrics"]["mel_distance"]["model_sha256"] is None
    for key, path in (("dnsmos_bak", network), ("utmos", script)):
        metric = stored["metrics"][key]
        assert metric["sample_rate"] == RATE
        assert metric["version"][0].isdigit()
        assert metric["model_file"] == path.name
        assert metric["model_sha256"] == ModelFile.identify(path).sha256
        assert f"{path.name} (SHA-256 {metric['model_sha256']})" in page.read_text("utf-8")
    assert stored["metrics"]["dnsmos_bak"]["name"] == "DNSMOS P.835 BAK"
    assert stored["metrics"]["dnsmos_bak"]["count"] == 2
    assert [entry["name"] for entry in stored["metrics"]["utmos"]["failed"]] == ["silent", "tiny"]


def test_naming_metrics_of_a_model_leaves_its_others_out(network, script, folders):
    models = [*dnsmos_metrics(network), utmos_metric(script)]
    evaluation = evaluate_folders(*folders, ["dnsmos_bak"], progress=False, models=models)
    assert list(evaluation.summary) == ["dnsmos_bak", "utmos"]
    with pytest.raises(ValueError, match=r"unknown metrics \['utmos'\].*model file.*'utmos'\]"):
        evaluate_folders(*folders, ["utmos"], progress=False, models=models[:3])


def test_wrong_models_are_refused_before_anything_is_scored(folders, tmp_path, capsys):
    (tmp_path / "text").write_text("no model")
    wrong = {
        "no model file": ("--dnsmos", tmp_path / "gone.onnx"),
        "cannot be loaded": ("--dnsmos", tmp_path / "text"),
        "does not take a window": ("--dnsmos", write_onnx(tmp_path / "p808.onnx", rank=3)),
        "gives the shape (1, 1)": (
            "--dnsmos",
            write_onnx(tmp_path / "one.onnx", np.ones(1, np.float32), np.ones(1, np.float32)),
        ),
        "not TorchScript": ("--utmos", tmp_path / "text"),
        "gave (1, 2) instead of one number": (
            "--utmos",
            write_script(tmp_path / "pair.jit", Pair()),
        ),
    }
    for reason, (option, path) in wrong.items():
        out = tmp_path / "scores.json"
        assert main(["evaluate", *folders, "--json", str(out), option, str(path)]) == 2, reason
        said = capsys.readouterr()
        assert reason in said.err
        assert path.name in said.err
        assert said.out == ""
        assert said.err.count("\n") == 1
        assert not out.exists()


def test_a_missing_onnxruntime_names_the_extra(network, folders, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    out = str(tmp_path / "scores.json")
    assert main(["evaluate", *folders, "--json", out, "--dnsmos", str(network)]) == 2
    assert "pip install 'wavcube[mos]'" in capsys.readouterr().err
