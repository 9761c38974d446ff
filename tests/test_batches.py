"""The result for an item never depends on its batch, nor on what its padding is filled with."""

import pytest
import torch

from wavcube import WavCube
from wavcube.latent.coordinates import fit_latent_basis
from wavcube.lobes.wavcube import WavCube as Lobe
from wavcube.testing import (
    tiny_acoustic_codec,
    tiny_decoder,
    tiny_ssl_config,
    tiny_wavcube,
    tone,
)

SECONDS = (0.05, 0.5, 1.3, 4.0, 9.7)
TOLERANCE = {"atol": 1e-4, "rtol": 0}


def group_norm_model():
    """An encoder whose GroupNorm over time no mask can mend."""
    from wavcube.lobes.bottleneck import SemanticBottleneck
    from wavcube.lobes.ssl.encoder import SSLEncoder

    encoder = SSLEncoder(tiny_ssl_config("wavlm", norm="group"))
    bottleneck = SemanticBottleneck(encoder.dim, 8, num_layers=1, num_heads=2, ffn_dim=32)
    return Lobe(encoder, bottleneck, tiny_decoder()).eval()


MODELS = {
    "wavlm": lambda: tiny_wavcube(),
    "transformer decoder": lambda: tiny_wavcube("transformer"),
    "filter bank": lambda: tiny_wavcube(
        encoder="filterbank_wavlm", with_layer_mix=True, with_skip=True
    ),
    "white latent": lambda: tiny_wavcube(encoder="filterbank_wavlm", with_basis=True),
    "hubert": lambda: tiny_wavcube(encoder="hubert", variational=True),
    "group norm": group_norm_model,
    "acoustic codec": tiny_acoustic_codec,
}


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    torch.manual_seed(0)
    lobe = MODELS[request.param]()
    _wake_up(lobe)
    if getattr(lobe, "latent_basis", None) is not None:
        loud = torch.rand(3, 40).repeat_interleave(1600, 1).square()  # changes ten times a second
        speech = [{"wav": wav} for wav in loud * torch.randn(loud.shape)]
        fit_latent_basis(lobe, speech, progress=False)
    return WavCube({"wavcube": lobe}, run_opts={"device": "cpu"})


def _wake_up(lobe):
    """Fresh weights are so small that a wrong mask would hide below the tolerance."""
    with torch.no_grad():
        for parameter in lobe.parameters():
            if parameter.dim() > 1:
                parameter.mul_(
                    0.5 / parameter.std().clamp(min=0.05) / parameter.shape[1] ** 0.5 + 1
                )


@pytest.fixture(scope="module")
def clips():
    return [tone(seconds, seed) for seed, seconds in enumerate(SECONDS)]


@pytest.fixture(scope="module")
def alone(model, clips):
    latents = [model.encode_batch(clip[None])[0] for clip in clips]
    lengths = [len(clip) for clip in clips]
    return latents, [model.decode_batch(z, length=n) for z, n in zip(latents, lengths, strict=True)]


@pytest.mark.parametrize("padding", ["zero", "noise", "nan"])
def test_together_equals_alone(model, clips, alone, padding):
    size = max(len(clip) for clip in clips)
    fill = {"zero": torch.zeros, "noise": torch.randn, "nan": lambda n: torch.full((n,), torch.nan)}
    wavs = torch.stack([torch.cat([clip, fill[padding](size - len(clip))]) for clip in clips])
    lens = torch.tensor([len(clip) / size for clip in clips])
    latents, latent_lens = model.encode_batch(wavs, lens)
    latents_alone, audio_alone = alone
    # what lies beyond an item's latents is not looked at either
    noisy = latents.clone()
    for item, own in enumerate(latents_alone):
        noisy[item, own.shape[1] :] = 0 if padding == "zero" else torch.randn(())
    audio = model.decode_batch(noisy, latent_lens, length=[len(clip) for clip in clips])
    for item, (own_latents, own_audio) in enumerate(zip(latents_alone, audio_alone, strict=True)):
        frames, samples = own_latents.shape[1], own_audio.shape[1]
        torch.testing.assert_close(latents[item, :frames], own_latents[0], **TOLERANCE)
        torch.testing.assert_close(audio[item, :samples], own_audio[0], **TOLERANCE)
        assert not latents[item, frames:].any()
        assert not audio[item, samples:].any()


def test_the_clips_are_told_apart(alone):
    latents, audio = alone
    assert min(float(z.std()) for z in latents) > 0.01
    assert float((latents[3][:, :20] - latents[4][:, :20]).abs().mean()) > 0.01
    assert float((audio[3][:, :8000] - audio[4][:, :8000]).abs().max()) > 1e-3


def test_the_order_does_not_matter(model, clips, alone):
    wavs = torch.nn.utils.rnn.pad_sequence([clips[3], clips[1]], batch_first=True)
    lens = torch.tensor([1.0, len(clips[1]) / len(clips[3])])
    forward, _ = model.encode_batch(wavs, lens)
    backward, _ = model.encode_batch(wavs.flip(0), lens.flip(0))
    torch.testing.assert_close(forward, backward.flip(0), **TOLERANCE)
