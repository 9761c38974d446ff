"""Decoding in chunks: what is exact equals the whole, and what is not is bounded."""

import pytest
import torch

from wavcube.inference.long_form import decode_chunks, fit_chunks
from wavcube.lobes.decoder.rotary_transformer import rotary_table
from wavcube.lobes.decoder.stream import CausalState, DecoderStream
from wavcube.testing import tiny_decoder


def in_chunks(latents, size):
    return latents.split(size, dim=1)


def relative(made, expected):
    return float((made - expected).norm() / expected.norm())


@pytest.mark.parametrize("sizes", [[1] * 60, [7, 30, 23], [60]])
@torch.no_grad()
def test_a_convolutional_stream_equals_the_whole(sizes):
    decoder, latents = tiny_decoder().eval(), torch.randn(2, 60, 8)
    stream = DecoderStream(decoder, step=5)
    made = [stream.push(chunk) for chunk in latents.split(sizes, dim=1)]
    made = torch.cat([*made, stream.flush()], dim=1)
    torch.testing.assert_close(made, decoder(latents), atol=1e-5, rtol=0)


def test_the_context_is_as_wide_as_it_must_be():
    decoder = tiny_decoder().eval()
    latents = torch.randn(1, 60, 8, requires_grad=True)
    before, after = decoder.context
    decoder(latents)[:, 30 * decoder.hop : 31 * decoder.hop].square().sum().backward()
    seen = latents.grad[0].abs().sum(1).nonzero().squeeze(1)
    assert 30 - before <= int(seen[0]) <= 31 - before
    assert 29 + after <= int(seen[-1]) <= 30 + after


@torch.no_grad()
def test_audio_comes_after_a_bounded_number_of_frames():
    for backbone in ("convnext", "transformer"):
        stream = DecoderStream(tiny_decoder(backbone).eval(), step=4)
        assert stream.push(torch.randn(1, stream.delay - 1, 8)).shape == (1, 0)
        assert stream.push(torch.randn(1, 1, 8)).shape == (1, 4 * 320)


@pytest.mark.parametrize("backbone", ["convnext", "transformer"])
@torch.no_grad()
def test_pieces_without_frames_change_nothing(backbone):
    decoder, latents = tiny_decoder(backbone).eval(), torch.randn(1, 30, 8)
    sizes = [0, 7, 0, 0, 13, 10, 0]
    for step in (5, 40):
        whole, stream = DecoderStream(decoder, step=step), DecoderStream(decoder, step=step)
        expected = torch.cat([*map(whole.push, latents.split([7, 13, 10], 1)), whole.flush()], 1)
        made = torch.cat([*map(stream.push, latents.split(sizes, 1)), stream.flush()], dim=1)
        torch.testing.assert_close(made, expected)
        chunks = torch.cat(list(decode_chunks(decoder, latents.split(sizes, dim=1), step)), dim=1)
        assert relative(chunks, decoder(latents)) < 1e-5


def test_silence_at_the_end_is_where_the_samples_are():
    chunks = list(fit_chunks([torch.ones(1, 2, device="meta")], 5))
    assert [(chunk.shape[1], chunk.device.type) for chunk in chunks] == [(2, "meta"), (3, "meta")]


@torch.no_grad()
def test_two_utterances_of_one_stream_equal_those_of_two():
    decoder = tiny_decoder("transformer").eval()
    stream = DecoderStream(decoder, step=10)
    for seed in (1, 2):
        latents = torch.randn(1, 40, 8, generator=torch.Generator().manual_seed(seed))
        fresh = DecoderStream(decoder, step=10)
        expected = torch.cat([fresh.push(latents), fresh.flush()], dim=1)
        made = torch.cat([stream.push(latents), stream.flush()], dim=1)
        torch.testing.assert_close(made, expected)


@torch.no_grad()
def test_remembered_keys_equal_the_whole():
    backbone, latents = tiny_decoder("transformer").eval().backbone, torch.randn(2, 50, 8)
    state = CausalState(backbone, history=100)
    made = torch.cat([state.push(chunk) for chunk in in_chunks(latents, 7)], dim=1)
    torch.testing.assert_close(made, backbone.decode_causally(latents), atol=1e-5, rtol=0)
    short = CausalState(backbone, history=5)
    made = torch.cat([short.push(chunk) for chunk in in_chunks(latents, 7)], dim=1)
    assert (made - backbone.decode_causally(latents)).abs().max() > 1e-3


@pytest.mark.parametrize("backbone", ["convnext", "transformer"])
@pytest.mark.parametrize("step", [10, 33])
@torch.no_grad()
def test_chunks_equal_the_whole_for_any_decoder(backbone, step):
    decoder, latents = tiny_decoder(backbone).eval(), torch.randn(1, 190, 8)
    made = torch.cat(list(decode_chunks(decoder, in_chunks(latents, 40), step)), dim=1)
    assert relative(made, decoder(latents)) < 1e-5


@torch.no_grad()
def test_a_stream_of_the_paper_s_decoder_differs_by_its_group_norm_only():
    decoder, latents = tiny_decoder("transformer").eval(), torch.randn(1, 400, 8)
    stream = DecoderStream(decoder, step=50)
    made = torch.cat([stream.push(latents), stream.flush()], dim=1)
    assert 1e-6 < relative(made, decoder(latents)) < 0.1


def test_far_positions_keep_their_angles():
    far = rotary_table(4, 8, start=180_000)
    angle = torch.outer(
        torch.arange(180_000, 180_004).double(), 1e4 ** (-torch.arange(0, 8, 2).double() / 8)
    )
    torch.testing.assert_close(far[0], angle.cos().float(), atol=2e-3, rtol=0)
    near = rotary_table(6, 8)
    for whole, part in zip(near, rotary_table(4, 8, start=2), strict=True):
        torch.testing.assert_close(whole[2:], part, atol=1e-6, rtol=0)


def test_nothing_to_flush_and_wrong_steps_are_named():
    with pytest.raises(ValueError, match="nothing was pushed"):
        DecoderStream(tiny_decoder()).flush()
    with pytest.raises(ValueError, match="step of 0 frames"):
        DecoderStream(tiny_decoder(), step=0)
    with pytest.raises(ValueError, match="history of 0 frames"):
        DecoderStream(tiny_decoder("transformer"), history=0)
