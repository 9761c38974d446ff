"""Lengths, shapes and sizes of what is passed to a model: taken as they are, or refused."""

import numpy as np
import pytest
import torch

from wavcube import WavCube
from wavcube.testing import tiny_wavcube, tone


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return WavCube({"wavcube": tiny_wavcube()}, run_opts={"device": "cpu"})


@pytest.mark.parametrize(
    "length",
    [1.5, [1000.0], True, [1000, False], torch.tensor([1000.0]), np.array(900.0), "900", [None]],
)
def test_bad_lengths(model, length):
    with pytest.raises(ValueError, match="whole number of samples"):
        model.decode_batch(torch.zeros(1, 4, 8), length=length)


@pytest.mark.parametrize(
    "length", [1000, [1000], (1000,), np.int64(1000), torch.tensor(1000), np.array([1000])]
)
def test_good_lengths(model, length):
    assert model.decode_batch(torch.zeros(1, 4, 8), length=length).shape == (1, 1000)


def test_what_is_computed_is_finite(model):
    latents = torch.zeros(2, 5, 8)
    latents[1] = 3e38
    with pytest.raises(ValueError, match=r"decoding .* not finite .* largest given is 3e\+38"):
        model.decode_batch(latents)
    with pytest.raises(ValueError, match=r"encoding .* not finite .* largest given is 3e\+38"):
        model.encode_batch(torch.full((1, 1000), 3e38) * tone(1.0)[:1000].sign())


def test_padding_may_hold_anything(model):
    latents = torch.zeros(2, 5, 8)
    latents[1, 3:] = torch.nan
    assert model.decode_batch(latents, torch.tensor([1.0, 0.6])).isfinite().all()


@pytest.mark.parametrize("shape", [(16000, 2), (9, 8)])
def test_channels_that_come_last_are_refused(model, shape):
    with pytest.raises(ValueError, match=r"look like \[time, channels\].*average the channels"):
        model.encode_batch(torch.zeros(shape))


def test_short_clips_are_a_batch_like_any_other(model):
    clips = torch.randn(9, 9)
    latents, _ = model.encode_batch(clips)
    torch.testing.assert_close(latents[3:4], model.encode_batch(clips[3:4])[0])
