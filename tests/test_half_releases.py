"""Releases in float16 on a CPU: what is read when makes no difference to the result."""

import copy

import pytest
import torch

from wavcube.export import load_release, write_release
from wavcube.inference import WavCube
from wavcube.lobes import stored_linear
from wavcube.lobes.linear import Linear
from wavcube.lobes.stored_linear import StoredLinear
from wavcube.release.card import ModelCard
from wavcube.testing import tiny_wavcube, tone

CARD = ModelCard(
    title="Tiny",
    summary="For a test.",
    weights_license="Apache-2.0",
    commercial_use="yes",
    upstream=[],
    data=[],
    command="none",
)


@pytest.fixture
def release(tmp_path):
    model = tiny_wavcube("transformer")
    return write_release(model, tmp_path / "a", card=CARD, dtype=torch.float16)


def load(release, **options):
    freeze = options.pop("freeze_params", True)
    return WavCube.from_hparams(
        release, run_opts={"device": "cpu", **options}, freeze_params=freeze
    )


def parts(model, kind):
    return [part for part in model.modules() if isinstance(part, kind)]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_large_matrices_stay_in_the_file_and_change_nothing(monkeypatch, release, precision):
    held = load(release, precision=precision)
    assert not parts(held, StoredLinear), "too small to be worth it"
    monkeypatch.setattr(stored_linear, "SMALLEST_BYTES", 1)
    stored, wav = load(release, precision=precision), tone(0.5)
    assert len(parts(stored, StoredLinear)) == len(parts(held, Linear)) > 20
    latents, lens = stored.encode_batch(wav)
    assert torch.equal(latents, held.encode_batch(wav)[0])
    assert torch.equal(stored.decode_batch(latents, lens), held.decode_batch(latents, lens))
    exact = load_release(release)
    error = (latents - exact.encode(wav[None])[0]).norm() / latents.norm()
    assert 0 < error < 0.05
    assert (stored.latent_hash, stored.model_hash) == (held.latent_hash, held.model_hash)
    assert torch.equal(copy.deepcopy(stored).encode_batch(wav)[0], latents)


def test_a_release_that_was_replaced_while_it_is_in_use_is_refused(monkeypatch, release):
    monkeypatch.setattr(stored_linear, "SMALLEST_BYTES", 1)
    model = load(release, precision="bf16")
    write_release(tiny_wavcube("transformer"), release, card=CARD, overwrite=True)
    with pytest.raises(ValueError, match="was replaced after it was opened: load the model again"):
        model.encode_batch(tone(0.5))


def test_in_float32_what_is_never_used_is_never_converted(release):
    model, exact, wav = load(release), load_release(release), tone(0.5)
    hashes = model.latent_hash, model.model_hash
    latents, lens = model.encode_batch(wav)
    torch.testing.assert_close(latents, exact.encode(wav[None])[0], atol=1e-5, rtol=1e-5)
    lobe = model.mods.wavcube
    encoding = [*parts(lobe.encoder, Linear), *parts(lobe.bottleneck, Linear)]
    assert {part.weight.dtype for part in encoding} == {torch.float32}
    assert not any(part._forward_pre_hooks for part in encoding)
    decoding = parts(lobe.decoder, Linear)
    assert {part.weight.dtype for part in decoding} == {torch.float16}
    wavs = copy.deepcopy(model).decode_batch(latents, lens)
    assert {part.weight.dtype for part in decoding} == {torch.float16}, "the copy is another model"
    assert torch.equal(model.decode_batch(latents, lens), wavs)
    assert {part.weight.dtype for part in decoding} == {torch.float32}
    assert (model.latent_hash, model.model_hash) == hashes


@pytest.mark.parametrize("options", [{"freeze_params": False}, {"compile": True}])
def test_what_is_trained_or_compiled_is_float32_from_the_start(monkeypatch, release, options):
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **kw: None)
    model = load(release, **options)
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    assert all(value.requires_grad == ("compile" not in options) for value in model.parameters())
    assert len(parts(model, Linear)) > 20
