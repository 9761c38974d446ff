"""T samples give ceil(T / 320) frames and come back as T samples, for every T."""

import pytest
import torch

from wavcube import WavCube
from wavcube.testing import tiny_wavcube

LONGEST = 20 * 16000
# both front ends, spectral and convolutional, and both decoders
MODELS = pytest.mark.parametrize(
    ("encoder", "backbone"), [("filterbank_wavlm", "convnext"), ("wavlm", "transformer")]
)


def random_lengths(count, seed=0):
    """Beyond three frames, lengths of every order of magnitude alike."""
    generator = torch.Generator().manual_seed(seed)
    exponents = torch.rand(count, generator=generator, dtype=torch.float64)
    return (960 * (LONGEST / 960) ** exponents).round().long().tolist()


def model_with(**parts):
    return WavCube({"wavcube": tiny_wavcube(with_basis=True, **parts)}, run_opts={"device": "cpu"})


def check_round_trip(model, samples):
    latents, lens = model.encode_batch(torch.randn(1, samples))
    frames = -(-samples // model.hop)
    assert latents.shape == (1, frames, model.latent_dim)
    assert bool(latents.any(dim=2).all()), "no frame is padding"
    assert lens.tolist() == [1.0]
    assert model.decode_batch(latents, lens, length=samples).shape == (1, samples)


@MODELS
def test_every_length_up_to_three_frames(encoder, backbone):
    model = model_with(encoder=encoder, backbone=backbone)
    assert model.hop == 320
    for samples in range(1, 961):
        check_round_trip(model, samples)


def test_without_a_length_whole_frames_come_back():
    model = model_with()
    for samples in (1, 320, 321):
        latents, lens = model.encode_batch(torch.randn(1, samples))
        assert model.decode_batch(latents, lens).shape == (1, latents.shape[1] * model.hop)


@pytest.mark.parametrize("encoder", ["hubert", "wav2vec2"])
def test_lengths_around_the_borders_of_the_other_encoders(encoder):
    model = model_with(encoder=encoder)
    for frame in (1, 2, 3):
        for samples in (320 * frame - 1, 320 * frame, 320 * frame + 1, 320 * frame + 80):
            check_round_trip(model, samples)
    for samples in (1, 2, 10, 399, 400, 401):
        check_round_trip(model, samples)


@MODELS
def test_random_lengths_up_to_twenty_seconds(encoder, backbone):
    model = model_with(encoder=encoder, backbone=backbone)
    for samples in random_lengths(200):
        check_round_trip(model, samples)


def test_random_lengths_in_one_batch():
    model = model_with()
    samples = sorted(random_lengths(200))[::25]
    wavs = torch.randn(len(samples), max(samples))
    latents, lens = model.encode_batch(wavs, torch.tensor(samples) / max(samples))
    frames = [-(-n // model.hop) for n in samples]
    assert latents.shape[1] == max(frames)
    assert (lens * max(frames)).round().long().tolist() == frames
    audio = model.decode_batch(latents, lens, length=samples)
    assert audio.shape == (len(samples), max(samples))
    for item, count in zip(audio, samples, strict=True):
        assert bool((item[count:] == 0).all())
        assert bool((item[:count] != 0).any())


def test_a_batch_that_no_item_fills_comes_back_as_long_as_it_was():
    model = model_with()
    wavs, relative = torch.randn(2, 16000), torch.tensor([0.5, 0.6])
    latents, lens = model.encode_batch(wavs, relative)
    assert latents.shape == (2, 50, model.latent_dim)
    assert (lens * 50).round().tolist() == [25, 30]
    assert not latents[1, 30:].any()
    audio = model(wavs, relative)
    assert audio.shape == (2, 16000)
    alone = model(wavs[1:, :9600])
    torch.testing.assert_close(audio[1:, :9600], alone, atol=1e-4, rtol=0)
    assert not audio[1, 9600:].any()


def test_a_length_that_the_latents_cannot_have_is_refused():
    model = model_with()
    latents, lens = model.encode_batch(torch.randn(1, 1000))
    for length in (960, 1281, 0, [1000, 1000]):
        with pytest.raises(ValueError, match=r"samples|lengths"):
            model.decode_batch(latents, lens, length=length)
