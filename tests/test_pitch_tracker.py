"""Pitch of a waveform at a latent's frames."""

import math

import pytest
import torch

from wavcube.lobes.layers.pitch import PitchTracker

RATE, HOP = 16000, 320


def glide(start, stop, seconds=1.0):
    """A harmonic tone whose pitch goes from one frequency to another; and log F0 at its frames."""
    size = round(seconds * RATE)
    log_f0 = torch.linspace(math.log(start), math.log(stop), size)
    phase = 2 * math.pi * torch.cumsum(log_f0.exp(), 0) / RATE
    wav = sum(torch.sin(k * phase) / k for k in range(1, 12))
    return 0.3 * wav / wav.abs().max(), log_f0[HOP // 2 :: HOP]


@pytest.mark.parametrize(("start", "stop"), [(80, 110), (120, 90), (200, 320), (400, 250)])
def test_a_glide_is_followed(start, stop):
    wav, expected = glide(start, stop)
    log_f0, voiced = PitchTracker(RATE, HOP)(wav[None])
    inner = slice(2, -2)
    assert bool(voiced[0, inner].all())
    assert float((log_f0[0, inner] - expected[inner]).abs().max()) < 0.02


def test_noise_and_silence_are_unvoiced():
    noise = 0.1 * torch.randn(1, RATE, generator=torch.Generator().manual_seed(0))
    log_f0, voiced = PitchTracker(RATE, HOP)(torch.cat([noise, torch.zeros(1, RATE)]))
    assert float(voiced[0].float().mean()) < 0.1
    assert not bool(voiced[1].any())
    assert float(log_f0[1].abs().max()) == 0.0


def test_the_level_changes_nothing():
    wav, _ = glide(150, 180)
    tracker = PitchTracker(RATE, HOP)
    torch.testing.assert_close(tracker(wav[None])[0], tracker(0.01 * wav[None])[0])


def test_an_item_does_not_depend_on_its_batch():
    wavs = [glide(100 + 30 * k, 160, 0.31 + 0.17 * k)[0] for k in range(4)]
    samples = torch.tensor([len(wav) for wav in wavs])
    batch = torch.randn(4, int(samples.max()))  # what lies in the padding must not matter
    for row, wav in zip(batch, wavs, strict=True):
        row[: len(wav)] = wav
    tracker = PitchTracker(RATE, HOP)
    log_f0, voiced = tracker(batch, samples)
    for index, wav in enumerate(wavs):
        alone, is_voiced = tracker(wav[None])
        size = alone.shape[1]
        torch.testing.assert_close(log_f0[index, :size], alone[0], atol=1e-4, rtol=0)
        assert torch.equal(voiced[index, :size], is_voiced[0])
        assert not bool(voiced[index, size:].any())


def test_a_single_sample_makes_one_unvoiced_frame():
    log_f0, voiced = PitchTracker(RATE, HOP)(torch.ones(1, 1))
    assert log_f0.shape == (1, 1)
    assert not bool(voiced.any())


@pytest.mark.parametrize(("lowest", "highest"), [(0, 500), (300, 200), (60, 5000)])
def test_a_range_that_cannot_be_is_refused(lowest, highest):
    with pytest.raises(ValueError, match=f"F0 from {lowest} to {highest}"):
        PitchTracker(RATE, HOP, lowest, highest)
