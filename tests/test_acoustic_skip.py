"""The way around the bottleneck."""

import torch

from wavcube.lobes.wavcube import AcousticSkip, WavCube
from wavcube.testing import tiny_wavcube, tone


def with_and_without(**kind) -> tuple[WavCube, WavCube]:
    """A model with a fresh skip, and the same model without."""
    model = tiny_wavcube(**kind)
    skip = AcousticSkip(model.encoder.front_dim, model.latent_dim)
    parts = (model.encoder, model.bottleneck, model.decoder, model.layer_mix)
    return WavCube(*parts, acoustic_skip=skip).eval(), model


def test_a_fresh_skip_changes_nothing_and_learns_at_once():
    for kind in ({"encoder": "filterbank_wavlm"}, {"encoder": "hubert", "variational": True}):
        ours, plain = with_and_without(**kind)
        wavs = tone(0.2)[None]
        latents, expected = ours.encode(wavs)[0], plain.encode(wavs)[0]
        torch.testing.assert_close(latents, expected, atol=1e-6, rtol=1e-6)
        ours(wavs).latents.square().mean().backward()
        assert ours.acoustic_skip.linear.weight.grad.abs().max() > 0


def test_the_skip_adds_a_linear_map_of_the_front_end():
    ours, plain = with_and_without(encoder="filterbank_wavlm")
    ours.acoustic_skip.linear.reset_parameters()
    wavs = tone(0.2)[None]
    expected = plain.encode(wavs)[0] + ours.acoustic_skip(ours.features(wavs).front)
    torch.testing.assert_close(ours.encode(wavs)[0], expected)
    torch.testing.assert_close(ours(wavs).latents, expected)
