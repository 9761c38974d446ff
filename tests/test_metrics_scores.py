"""Scores against closed-form cases; failures are told, never dropped and never zero."""

import itertools
import math
import sys

import numpy as np
import pytest
import soundfile
import torch

from wavcube.metrics import METRICS, MetricError, SignalPair, score_many, score_pair
from wavcube.metrics.base import require, resample
from wavcube.metrics.mel_distance import mel_distance
from wavcube.metrics.perceptual import _segments, estoi, pesq_nb, pesq_wb, stoi
from wavcube.metrics.sdr import si_sdr
from wavcube.metrics.speaker import speaker_similarity
from wavcube.testing import tone

RATE = 16000
FAST = ("mel_distance", "stoi", "si_sdr")


def speech(seconds=2.0, seed=0):
    return tone(seconds, seed).reshape(-1).double().numpy()


def noisy(clean, snr):
    """Add noise, orthogonal to the signal and of zero mean, at exactly this ratio in dB."""
    noise = np.random.default_rng(1).standard_normal(len(clean))
    noise -= noise.mean()
    centred = clean - clean.mean()
    noise -= (noise @ centred) / (centred @ centred) * centred
    return clean + noise * np.sqrt((centred @ centred) / (noise @ noise)) * 10 ** (-snr / 20)


@pytest.mark.parametrize(
    ("metric", "expected", "tolerance"),
    [
        (mel_distance, 0.0, 0.0),
        (stoi, 1.0, 1e-6),
        (estoi, 1.0, 1e-6),
        (pesq_wb, 4.6439, 1e-3),  # the largest value of P.862.2's mapping
        (pesq_nb, 4.5486, 1e-3),  # the largest value of P.862.1's mapping
        (speaker_similarity, 1.0, 1e-5),
    ],
)
def test_a_signal_against_itself(metric, expected, tolerance):
    signal = speech()
    assert metric(signal, signal, RATE) == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize(
    "metric", [mel_distance, stoi, estoi, pesq_wb, pesq_nb, speaker_similarity]
)
def test_more_noise_is_worse(metric):
    clean = speech()
    values = [metric(clean, noisy(clean, snr), RATE) for snr in (0, 10, 20, 30)]
    better = next(m.info.better for m in METRICS.values() if m.info.key == metric.__name__)
    assert values == sorted(values, reverse=better == "lower")
    assert abs(values[0] - values[-1]) > 0.2


def test_stored_scores_of_a_noisy_signal():
    # written by pesq 0.0.4, pystoi 0.4.1 and Resemblyzer 0.1.4
    clean = speech()
    noise = np.random.default_rng(0).standard_normal(len(clean))
    generated = clean + noise * np.sqrt((clean @ clean) / (noise @ noise)) * 10 ** (-10 / 20)
    scores = score_pair(clean, generated, RATE, list(METRICS)[:7])
    expected = {
        "mel_distance": 0.79296,
        "stoi": 0.88468,
        "estoi": 0.57747,
        "pesq_wb": 2.41676,
        "speaker_similarity": 0.86472,
        "pesq_nb": 3.29587,
        "si_sdr": 10.00656,
    }
    assert dict(scores) == pytest.approx(expected, abs=2e-3)


def test_mel_distance_of_a_gain_is_its_logarithm():
    noise = np.random.default_rng(0).standard_normal(RATE)
    assert mel_distance(noise, 3 * noise, RATE) == pytest.approx(math.log(3), abs=1e-4)


@pytest.mark.parametrize("snr", [-5.0, 0.0, 17.3])
def test_si_sdr_of_orthogonal_noise_is_the_snr(snr):
    clean = speech(0.5)
    generated = noisy(clean, snr)
    assert si_sdr(clean, generated) == pytest.approx(snr, abs=1e-6)
    assert si_sdr(clean, 0.1 * generated + 7) == pytest.approx(snr, abs=1e-6)


def test_si_sdr_of_a_known_delay():
    # a whole number of periods: the delayed sine is cos(phi) of the sine, sin(phi) of the cosine
    time = np.arange(1600)
    phi = 2 * np.pi * 3 / 160
    value = si_sdr(np.sin(2 * np.pi * time / 160), np.sin(2 * np.pi * (time - 3) / 160))
    assert value == pytest.approx(20 * math.log10(1 / math.tan(phi)), abs=1e-6)


def test_si_sdr_without_a_finite_value_says_so():
    signal = speech(0.2)
    with pytest.raises(MetricError, match="infinite"):
        si_sdr(signal, 2 * signal)
    with pytest.raises(MetricError, match="constant"):
        si_sdr(signal, np.ones_like(signal))
    with pytest.raises(MetricError, match="orthogonal"):
        si_sdr(np.array([1.0, -1, 0, 0]), np.array([0, 0, 1.0, -1]))


def test_estoi_is_not_stoi():
    clean = speech()
    assert stoi(clean, noisy(clean, 5), RATE) - estoi(clean, noisy(clean, 5), RATE) > 0.1


def test_estoi_is_repeatable_and_leaves_the_random_state_alone():
    # so faint that the noise of 1e-16 which pystoi adds would show
    clean = 1e-12 * speech()
    generated = 1e-12 * noisy(speech(), 5)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = estoi(clean, generated, RATE)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    assert estoi(clean, generated, RATE) == first


def test_speaker_similarity_is_symmetric_takes_any_lengths_and_lifts_quiet_speech():
    first, second = speech(2.0, seed=0), speech(1.3, seed=3)
    there = speaker_similarity(first, second, RATE)
    assert there == pytest.approx(speaker_similarity(second, first, RATE), abs=1e-6)
    assert there < 0.99
    # below -30 dBFS both are lifted to it
    assert speaker_similarity(0.05 * first, 0.01 * first, RATE) == pytest.approx(1.0, abs=1e-3)


def test_rates_are_changed_inside():
    clean, generated = speech(), noisy(speech(), 15)
    at_48 = [resample(x, RATE, 48000) for x in (clean, generated)]
    assert pesq_wb(*at_48, 48000) == pytest.approx(pesq_wb(clean, generated, RATE), abs=0.05)
    similar = speaker_similarity(clean, generated, RATE)
    assert speaker_similarity(*at_48, 48000) == pytest.approx(similar, abs=0.02)


def test_resampling_keeps_a_sine():
    time = np.arange(8000) / 8000
    sine = resample(np.sin(2 * np.pi * 440 * time), 8000, 22050)
    expected = np.sin(2 * np.pi * 440 * np.arange(22050) / 22050)
    assert np.abs(sine - expected)[500:-500].max() < 1e-3


def test_wide_band_of_narrow_band_speech_is_refused():
    scores = score_pair(speech(), speech(), 8000, ["pesq_wb", "pesq_nb"])
    assert list(scores) == ["pesq_nb"]
    assert "needs 16000 Hz" in scores.failures["pesq_wb"]


@pytest.mark.parametrize("silent", ["reference", "generated"])
def test_a_silent_clip_fails_every_metric_with_the_reason(silent):
    signals = {"reference": speech(), "generated": speech()}
    signals[silent] = np.full_like(signals[silent], 2e-5)
    scores = score_pair(**signals, sample_rate=RATE, metrics=list(METRICS))
    assert not scores.measurements
    assert set(scores.failures) == set(METRICS)
    assert all(f"{silent} signal is silent" in reason for reason in scores.failures.values())


@pytest.mark.parametrize(
    ("bad", "reason"),
    [(np.zeros(0), "no samples"), (np.array([0.1, np.nan]), "NaN"), (np.array([np.inf]), "NaN")],
)
def test_bad_signals_fail_with_the_reason(bad, reason):
    assert reason in score_pair(bad, speech(), RATE, ["stoi"]).failures["stoi"]
    assert reason in score_pair(speech(), bad, RATE, ["stoi"]).failures["stoi"]


@pytest.mark.parametrize("size", [1, 2, 100, 400, 3000, 6300, 6400])
def test_short_clips_have_a_score_or_a_reason(size):
    noise = np.random.default_rng(0).standard_normal((2, size))
    names = ["mel_distance", "stoi", "estoi", "pesq_wb", "speaker_similarity", "pesq_nb", "si_sdr"]
    scores = score_pair(noise[0], noise[1], RATE, names)
    assert set(scores) | set(scores.failures) == set(names)
    if size < 6300:
        assert "0.4 s" in scores.failures["stoi"]
    if size < 4000:
        assert "BufferTooShort" in scores.failures["pesq_wb"]


def test_no_utterance_is_a_reason():
    click = np.zeros(RATE)
    click[:20] = 0.5
    scores = score_pair(click, speech(1.0), RATE, ["stoi", "speaker_similarity"])
    assert "0.4 s" in scores.failures["stoi"]
    assert "no voice" in scores.failures["speaker_similarity"]
    with pytest.raises(KeyError, match="no voice"):
        scores["speaker_similarity"]


def test_lengths_within_a_frame_are_trimmed_and_others_refused():
    clean = speech()
    scores = score_pair(clean, clean[:-319], RATE, ["stoi"])
    assert scores["stoi"] == pytest.approx(1.0, abs=1e-6)
    scores = score_pair(clean, clean[:-900], RATE, ["stoi", "speaker_similarity"])
    assert "32000 samples and the generated signal 31100" in scores.failures["stoi"]
    assert scores["speaker_similarity"] > 0.9


def test_user_mistakes_are_errors():
    with pytest.raises(ValueError, match=r"unknown metrics \['pesq'\].*known: \['mel_distance'"):
        score_pair(speech(), speech(), RATE, ["stoi", "pesq"])
    with pytest.raises(ValueError, match="mono"):
        score_pair(np.zeros((2, 100)), np.zeros(100), RATE)
    with pytest.raises(ValueError, match="sample_rate is needed"):
        SignalPair("a", np.zeros(3), np.zeros(3))
    pair = SignalPair("a", speech(), speech(), RATE)
    with pytest.raises(ValueError, match=r"own name.*\['a'\]"):
        score_many([pair, pair], progress=False)
    with pytest.raises(ValueError, match="num_processes"):
        score_many([pair], num_processes=0)


def test_a_missing_tool_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pystoi", None)
    assert (
        "pip install 'wavcube[eval]'"
        in score_pair(speech(), speech(), RATE, ["stoi"]).failures["stoi"]
    )
    with pytest.raises(MetricError, match="not_there"):
        require("not_there", "not_there")


def test_files_are_read_resampled_and_their_faults_told(tmp_path):
    clean = speech()
    soundfile.write(tmp_path / "clean.wav", clean, RATE)
    soundfile.write(tmp_path / "other.wav", resample(clean, RATE, 24000), 24000)
    (tmp_path / "broken.wav").write_bytes(b"not audio")
    pairs = [
        SignalPair(name, tmp_path / "clean.wav", tmp_path / f"{name}.wav")
        for name in ("clean", "other", "broken", "absent")
    ]
    same, other, broken, absent = score_many(pairs, ["stoi", "mel_distance"], progress=False)
    assert same["mel_distance"] == 0.0
    assert other["stoi"] > 0.99
    assert other.sample_rate == RATE
    assert "broken.wav" in broken.failures["stoi"]
    assert "absent.wav" in absent.failures["stoi"]


def test_order_and_number_of_processes_change_nothing():
    pairs = [
        SignalPair(str(i), speech(1.0, i), noisy(speech(1.0, i), 5 * i), RATE) for i in range(3)
    ]
    names = ["mel_distance", "estoi", "speaker_similarity"]
    torch.set_num_threads(2)
    alone = score_many(pairs, names, num_processes=1, progress=False)
    assert torch.get_num_threads() == 2
    together = score_many(pairs[::-1], names, num_processes=2, progress=False)[::-1]
    assert [dict(s) for s in alone] == [dict(s) for s in together]
    assert [s.name for s in together] == ["0", "1", "2"]


def test_every_metric_has_a_full_identity():
    for key, metric in METRICS.items():
        card = metric.info.as_dict()
        assert card["key"] == key
        assert card["name"]
        assert len(card["description"]) > 20
        assert card["better"] in ("higher", "lower")
        assert card["version"][0].isdigit() or card["version"] == "not installed", key


def test_pesq_of_a_long_recording_is_that_of_its_segments():
    """pesq itself writes behind its arrays of 50 utterances, and takes the process with it."""
    rng = np.random.default_rng(0)
    burst = np.concatenate([speech()[: RATE // 2], np.zeros(RATE // 2)])
    clean = np.tile(burst, 240)
    score = pesq_wb(clean, clean + 0.01 * rng.standard_normal(len(clean)), RATE)
    assert 1.0 < score < 4.6
    assert pesq_wb(clean, clean, RATE) == pytest.approx(4.6439, abs=1e-3)


def test_segments_end_in_pauses():
    wav = np.tile(np.concatenate([np.ones(13 * RATE), np.zeros(RATE)]), 5)
    bounds = _segments(wav, RATE)
    assert bounds[0][0] == 0
    assert bounds[-1][1] == len(wav)
    for (start, stop), (following, _) in itertools.pairwise(bounds):
        assert stop == following
        assert 8 * RATE <= stop - start <= 20 * RATE
        assert not wav[stop - 1000 : stop + 1000].any()
    assert _segments(wav[: 30 * RATE], RATE) == [(0, 30 * RATE)]
