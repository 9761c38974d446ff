"""Both backbones: padded batches, causality, lengths, and what a configuration restores."""

import pytest
import torch
from torch.nn import functional as F

from wavcube.lobes.decoder.causal_transformer import CausalTransformerBackbone, TransposedUpsampler
from wavcube.lobes.decoder.convnext import ConvNeXtBackbone, ConvNeXtBlock
from wavcube.lobes.decoder.decoder import AcousticDecoder, ISTFTHead
from wavcube.lobes.decoder.local_vocoder import LocalVocoder
from wavcube.lobes.decoder.rotary_transformer import RotaryTransformerLayer
from wavcube.testing import tiny_decoder

BACKBONES = ["convnext", "transformer"]


@pytest.fixture(params=BACKBONES)
def decoder(request):
    """Tiny decoder whose norms and biases are not the neutral ones of a fresh module."""
    decoder = tiny_decoder(request.param).eval()
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return decoder


@pytest.mark.parametrize("padding", [0.0, 30.0, float("nan")])
def test_a_padded_batch_equals_items_alone(decoder, padding):
    lengths = [1, 2, 7, 31, 90]
    items = [torch.randn(1, n, 8) for n in lengths]
    batch = padding * torch.ones(5, 90, 8) * torch.randn(5, 90, 8)
    for row, item in zip(batch, items, strict=True):
        row[: item.shape[1]] = item[0]
    with torch.no_grad():
        together = decoder(batch, torch.tensor(lengths))
        alone = [decoder(item)[0] for item in items]
    assert together.shape == (5, 90 * decoder.hop)
    for wav, expected, frames in zip(together, alone, lengths, strict=True):
        end = frames * decoder.hop
        torch.testing.assert_close(wav[:end], expected, atol=1e-5, rtol=0)
        assert torch.equal(wav[end:], torch.zeros_like(wav[end:]))


def test_gradients_of_a_padded_batch_equal_those_of_items_alone(decoder):
    short, long = torch.randn(1, 5, 8), torch.randn(1, 40, 8)
    batch = torch.cat((F.pad(short, (0, 0, 0, 35), value=9.0), long))
    decoder(batch, torch.tensor([5, 40])).square().sum().backward()
    together = [p.grad.clone() for p in decoder.parameters()]
    decoder.zero_grad()
    for item in (short, long):
        decoder(item).square().sum().backward()
    for name_and_parameter, gradient in zip(decoder.named_parameters(), together, strict=True):
        expected = name_and_parameter[1].grad
        scale = expected.abs().max() + 1e-3
        assert (gradient - expected).abs().max() <= 1e-3 * scale, name_and_parameter[0]


@pytest.mark.parametrize("frames", [1, 2, 3, 50])
def test_every_length_gives_hop_samples_a_frame(decoder, frames):
    assert decoder.hop == 320
    wavs = decoder(torch.randn(2, frames, 8))
    assert wavs.shape == (2, frames * 320)
    assert wavs.isfinite().all()


def test_every_parameter_learns(decoder):
    decoder(torch.randn(2, 9, 8), torch.tensor([9, 4])).square().sum().backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize(
    ("shape", "message"),
    [((2, 5, 7), r"\(2, 5, 7\)"), ((5, 8), r"\(5, 8\)"), ((1, 0, 8), "frames")],
)
def test_latents_that_do_not_fit_are_refused(decoder, shape, message):
    with pytest.raises(ValueError, match=message):
        decoder(torch.zeros(shape))


def test_one_count_for_each_item_is_asked_for(decoder):
    with pytest.raises(ValueError, match="num_frames"):
        decoder(torch.zeros(2, 5, 8), torch.tensor([5]))


def test_parts_of_other_widths_are_refused():
    with pytest.raises(ValueError, match="16 channels"):
        AcousticDecoder(ConvNeXtBackbone(8, 16, 32, 1), ISTFTHead(24))


def test_bfloat16_autocast_trains(decoder):
    with torch.autocast("cpu", torch.bfloat16):
        wavs = decoder(torch.randn(2, 9, 8), torch.tensor([9, 4]))
    assert wavs.dtype == torch.float32
    wavs.square().mean().backward()
    assert all(p.grad.isfinite().all() for p in decoder.parameters())


def test_the_causal_half_sees_no_future():
    backbone = tiny_decoder("transformer").backbone
    latents = torch.randn(1, 12, 8, requires_grad=True)
    # weighted, as the plain sum after a LayerNorm is constant
    (backbone.decode_causally(latents)[:, 6] * torch.randn(16)).sum().backward()
    assert latents.grad[:, 7:].abs().max() == 0
    assert (latents.grad[:, :7].abs().amax(dim=2) > 0).all()


def test_the_vocoder_sees_its_window_only():
    vocoder = LocalVocoder(4, dim=8, num_layers=1, num_heads=2, ffn_dim=16, window=(5, 2))
    coarse = torch.randn(1, 200, 4, requires_grad=True)
    (vocoder(coarse)[0, 100] * torch.randn(8)).sum().backward()
    seen = coarse.grad[0].abs().amax(dim=1) > 0
    assert seen.nonzero().flatten().tolist() == list(range(95, 103))


def test_the_upsampler_normalises_over_the_untrimmed_output():
    upsampler = TransposedUpsampler(8, 4)
    x = torch.randn(1, 6, 8)
    full = F.group_norm(upsampler.conv(x.transpose(1, 2)), 1)
    assert full.shape[2] == 13
    torch.testing.assert_close(upsampler(x), full[:, :, :12].transpose(1, 2))
    counted = upsampler(torch.cat((x, torch.ones(1, 3, 8)), 1), torch.tensor([6]))
    torch.testing.assert_close(counted[:, :12], full[:, :, :12].transpose(1, 2))


def test_the_key_projection_has_no_bias():
    layer = RotaryTransformerLayer(8, 2, 16)
    assert layer.attention.k_proj.bias is None
    assert layer.attention.q_proj.bias is not None


def test_a_block_convolves_like_conv1d():
    block = ConvNeXtBlock(6, 12, kernel_size=5)
    x = torch.randn(2, 9, 6)
    conv = F.conv1d(
        x.transpose(1, 2), block.depthwise.weight, block.depthwise.bias, padding=2, groups=6
    )
    hidden = block.contract(F.gelu(block.expand(block.norm(conv.transpose(1, 2)))))
    torch.testing.assert_close(block(x), x + block.gain * hidden)


@pytest.mark.parametrize(
    "build",
    [
        lambda: ConvNeXtBlock(8, 16, kernel_size=4),
        lambda: ConvNeXtBackbone(8, 16, 32, num_layers=0),
        lambda: RotaryTransformerLayer(9, 3, 16),
    ],
)
def test_impossible_sizes_are_refused(build):
    with pytest.raises(ValueError, match=r"kernel_size=4|num_layers=0|dim=9"):
        build()


def test_a_configuration_describes_every_argument():
    vocoder = LocalVocoder(4, 8, num_layers=1, num_heads=2, ffn_dim=16, window=(5, 2))
    backbone = CausalTransformerBackbone(6, vocoder, 16, num_layers=1, num_heads=2, ffn_dim=32)
    config = backbone.config()
    nested = config.pop("vocoder")
    assert nested.pop("class") == "LocalVocoder"
    again = CausalTransformerBackbone(vocoder=LocalVocoder(**nested), **config)
    again.load_state_dict(backbone.state_dict())
    assert again.config() == backbone.config()
    assert again.vocoder.window == (5, 2)
    convnext = ConvNeXtBackbone(6, 8, 16, num_layers=3, kernel_size=5, upsampling=3)
    assert ConvNeXtBackbone(**convnext.config()).config() == convnext.config()
