"""Metrics of content and intonation: cepstra, pitch, words; on closed-form cases."""

import itertools

import numpy as np
import pytest
import soundfile

from wavcube.metrics import MetricError, SignalPair, score_pair
from wavcube.metrics.alignment import warping_path
from wavcube.metrics.cepstral import NUM_BANDS, mel_cepstral_distortion, mel_cepstrum
from wavcube.metrics.pitch import f0_correlation, voicing_error
from wavcube.metrics.recognition import (
    measure_wer,
    measure_wer_of_original,
    normalize_text,
    recognize,
    word_error_rate,
)
from wavcube.testing import tone

RATE = 16000


def speech(seconds=1.0, seed=0):
    return tone(seconds, seed).reshape(-1).double().numpy()


def harmonic(frequency):
    """Ten harmonics of a fundamental given per sample in Hz."""
    phase = 2 * np.pi * np.cumsum(frequency) / RATE
    return 0.1 * sum(np.sin(k * phase) / k for k in range(1, 11))


def cheapest(cost):
    """Cost of the best warping path, by trying every one."""
    rows, columns = cost.shape
    if rows == 1 or columns == 1:
        return cost.sum()
    before = (cost[:-1, :-1], cost[:-1, :], cost[:, :-1])
    return cost[-1, -1] + min(cheapest(part) for part in before)


@pytest.mark.parametrize(("rows", "columns"), [*itertools.product([1, 2, 5], [1, 3, 6])])
def test_warping_path_is_the_cheapest_of_all(rows, columns):
    cost = np.random.default_rng(rows + 10 * columns).random((rows, columns))
    path = warping_path(cost)
    assert path[0].tolist() == [0, 0]
    assert path[-1].tolist() == [rows - 1, columns - 1]
    steps = np.diff(path, axis=0).tolist()
    assert all(step in ([0, 1], [1, 0], [1, 1]) for step in steps)
    assert cost[tuple(path.T)].sum() == pytest.approx(cheapest(cost))


def test_warping_path_undoes_a_known_stretch():
    frames = np.random.default_rng(0).standard_normal((7, 4))
    stretched = np.repeat(frames, [1, 3, 1, 2, 5, 1, 2], axis=0)
    cost = np.linalg.norm(frames[:, None] - stretched[None], axis=-1)
    assert cost[tuple(warping_path(cost).T)].max() == 0


def test_warping_path_refuses_an_empty_matrix():
    with pytest.raises(ValueError, match="N, M >= 1"):
        warping_path(np.zeros((0, 3)))


def test_mel_cepstrum_is_the_cosine_series_of_the_log_mel_spectrum(monkeypatch):
    # a log-mel spectrum of 0.3 cos(pi m (k + 1/2) / K) plus loudness has the one coefficient 0.3
    import torch

    from wavcube.metrics import cepstral

    ripple = 2 + 0.3 * np.cos(np.pi * 5 * (np.arange(NUM_BANDS) + 0.5) / NUM_BANDS)
    spectrum = torch.from_numpy(np.repeat(ripple[:, None], 9, axis=1))[None]
    monkeypatch.setattr(cepstral, "_log_mel", lambda rate: lambda wav: spectrum)
    cepstrum = mel_cepstrum(np.ones(10), RATE)
    expected = np.zeros((9, 24))
    expected[:, 4] = 0.3
    np.testing.assert_allclose(cepstrum, expected, atol=1e-12)


def test_distortion_of_a_known_ripple_is_its_level_in_decibels(monkeypatch):
    from wavcube.metrics import cepstral

    flat, rippled = np.zeros((5, 24)), np.zeros((5, 24))
    rippled[:, 2] = 0.3  # nepers; root mean square 0.3 / sqrt(2), one neper is 8.686 dB
    monkeypatch.setattr(cepstral, "mel_cepstrum", lambda samples, rate: (flat, rippled)[samples])
    assert mel_cepstral_distortion(0, 1, RATE) == pytest.approx(8.685889638 * 0.3 / np.sqrt(2))


def test_distortion_is_zero_for_itself_and_a_gain_and_small_for_a_delay():
    signal, other = speech(), speech(seed=5)
    assert mel_cepstral_distortion(signal, signal, RATE) == 0.0
    assert mel_cepstral_distortion(signal, 0.2 * signal, RATE) == pytest.approx(0.0, abs=1e-3)
    delayed = np.concatenate([np.zeros(1600), signal])
    delay = mel_cepstral_distortion(signal, delayed, RATE)
    assert delay < 0.5 * mel_cepstral_distortion(signal, other, RATE)


def test_f0_of_known_contours():
    time = np.arange(RATE) / RATE
    glide = 120 + 60 * time
    signal = harmonic(glide)
    assert f0_correlation(signal, signal, RATE) == pytest.approx(1.0)
    assert f0_correlation(signal, harmonic(1.5 * glide), RATE) > 0.99
    assert f0_correlation(signal, harmonic(glide[::-1]), RATE) < -0.99
    assert voicing_error(signal, harmonic(1.5 * glide), RATE) < 0.05


def test_voicing_error_is_the_share_of_frames_that_lost_their_voice():
    signal = harmonic(np.full(RATE, 150.0))
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE)
    whispered = np.where(np.arange(RATE) < RATE // 4, noise, signal)
    assert voicing_error(signal, signal, RATE) == 0.0
    assert voicing_error(signal, whispered, RATE) == pytest.approx(0.25, abs=0.05)


def test_f0_without_voice_has_a_reason():
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE // 2)
    scores = score_pair(noise, noise, RATE, ["f0_correlation", "voicing_error"])
    assert "voiced in both" in scores.failures["f0_correlation"]
    assert scores["voicing_error"] == 0.0


@pytest.mark.parametrize(
    ("heard", "errors"),
    [
        ("the cat sat down", 0),
        ("The CAT, sat down!", 0),
        ("the cat sat", 1),
        ("the bat sat down", 1),
        ("the cat sat down now", 1),
        ("", 4),
        ("down sat cat the", 4),  # a permutation of the words is not a match
    ],
)
def test_word_errors_of_known_texts(heard, errors):
    measurement = word_error_rate("the cat sat down", heard)
    assert measurement.value == errors / 4
    assert measurement.weight == 4


def test_text_without_words_has_a_reason():
    assert normalize_text(" -- 'Tis 5 o'clock... ") == "tis 5 o'clock"
    with pytest.raises(MetricError, match="no words"):
        word_error_rate("--", "something")


@pytest.fixture(scope="module")
def utterance(shared):
    """The shortest utterance of the evaluation set, and its words."""
    folder = shared / "data" / "LibriSpeech" / "test-other"
    path = min(folder.rglob("*.flac"), key=lambda path: soundfile.info(path).duration)
    lines = (path.parent / f"{path.stem.rpartition('-')[0]}.trans.txt").read_text().splitlines()
    text = dict(line.split(" ", 1) for line in lines)[path.stem]
    return soundfile.read(path)[0], text


def test_recogniser_hears_words_and_is_repeatable(utterance):
    from wavcube.metrics import recognition

    samples, text = utterance
    heard = recognize(samples, RATE)
    assert set(heard.split()) & set(normalize_text(text).split())
    recognition._decode.cache_clear()
    recognize(speech(), RATE)
    assert recognize(samples, RATE) == heard


def test_word_error_rate_is_against_the_transcript_or_the_reading_of_the_original(utterance):
    samples, text = utterance
    without = SignalPair("a", samples, samples, RATE)
    assert measure_wer(without).value == 0.0
    assert measure_wer(without).weight == len(recognize(samples, RATE).split())
    with_text = SignalPair("a", samples, samples, RATE, text)
    assert measure_wer(with_text).weight == len(text.split())
    assert measure_wer(with_text) == measure_wer_of_original(with_text)
    with pytest.raises(MetricError, match="no transcript"):
        measure_wer_of_original(without)
