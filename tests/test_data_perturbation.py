"""Copies of speech in other voices."""

import math

import numpy as np
import pytest
import torch

from wavcube.lobes.layers.pitch import PitchTracker
from wavcube.tasks.conversion.perturbation import (
    SpeakerPerturbation,
    equalize,
    shift_pitch,
    stretch,
    warp_formants,
)
from wavcube.testing import tone

RATE = 16000


def mean_log_f0(wav):
    log_f0, voiced = PitchTracker(RATE, 320)(wav[None])
    return float(log_f0[voiced].mean())


def centroid(wav):
    """Mean frequency of a spectrum, in Hz."""
    power = torch.fft.rfft(wav).abs().square()
    return float((power * torch.linspace(0, RATE / 2, len(power))).sum() / power.sum())


def vowel(pitch=120.0, formant=1200.0, seconds=1.0):
    """Harmonics under one resonance."""
    time = torch.arange(round(seconds * RATE)) / RATE
    parts = []
    for k in range(1, int(4000 / pitch)):
        gain = math.exp(-(((k * pitch - formant) / 400) ** 2))
        parts.append(gain * torch.sin(2 * math.pi * k * pitch * time))
    wav = sum(parts)
    return 0.3 * wav / wav.abs().max()


@pytest.mark.parametrize("ratio", [0.7, 0.93, 1.0, 1.4])
def test_stretching_keeps_pitch_and_level(ratio):
    wav = tone(1.0)
    made = stretch(wav, ratio)
    assert len(made) == round(ratio * len(wav))
    assert abs(mean_log_f0(made) - mean_log_f0(wav)) < 0.03
    assert 0.8 < float(made.square().mean() / wav.square().mean()) < 1.25


def test_what_is_not_stretched_is_given_back():
    wav = tone(0.5)
    torch.testing.assert_close(stretch(wav, 1.0)[512:-512], wav[512:-512], atol=1e-3, rtol=0)


@pytest.mark.parametrize("ratio", [0.8, 1.3])
def test_the_pitch_is_shifted_and_the_duration_kept(ratio):
    wav = tone(1.0, seed=3)
    made = shift_pitch(wav, ratio)
    assert len(made) == len(wav)
    assert abs(mean_log_f0(made) - mean_log_f0(wav) - math.log(ratio)) < 0.05


@pytest.mark.parametrize("ratio", [0.8, 1.25])
def test_formants_move_and_the_pitch_stays(ratio):
    wav = vowel()
    made = warp_formants(wav, ratio)
    assert len(made) == len(wav)
    assert abs(mean_log_f0(made) - mean_log_f0(wav)) < 0.01
    assert abs(centroid(made) / centroid(wav) - ratio) < 0.1


def test_an_equaliser_of_one_gain_is_that_gain():
    wav = tone(0.3)
    torch.testing.assert_close(equalize(wav, torch.full((5,), -20.0)), 0.1 * wav, atol=1e-5, rtol=0)


def test_copies_are_drawn_by_the_generator_alone():
    perturb, wav = SpeakerPerturbation(), tone(0.5)
    first, again, other = (perturb(wav, np.random.default_rng(k)) for k in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    torch.testing.assert_close(first.square().mean(), wav.square().mean())


@pytest.mark.parametrize("size", [1, 200, 1000])
def test_short_and_silent_pieces_have_copies(size):
    for wav in (torch.zeros(size), 0.1 * torch.randn(size)):
        made = SpeakerPerturbation()(wav, np.random.default_rng(0))
        assert made.shape == wav.shape
        assert bool(made.isfinite().all())


@pytest.mark.parametrize("given", [{"pitch": 0.5}, {"formants": 3.0}, {"timbre_db": -1.0}])
def test_ranges_that_cannot_be_are_refused(given):
    with pytest.raises(ValueError, match=str(next(iter(given.values())))):
        SpeakerPerturbation(**given)


def test_a_duration_must_be_positive():
    with pytest.raises(ValueError, match="ratio 0"):
        stretch(torch.zeros(100), 0)
