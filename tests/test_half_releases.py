"""Releases in float16 on a CPU: what is read when makes no difference to the result."""

import copy

import pytest
import torch
from releases import CARD

from wavcube.inference import WavCube
from wavcube.lobes.layers import linear
from wavcube.lobes.layers.linear import Linear, StoredLinear
from wavcube.release.folder import load_release, write_release
from wavcube.representations.latent import LatentRepresentation
from wavcube.testing import tiny_wavcube, tone


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
    monkeypatch.setattr(linear, "SMALLEST_BYTES", 1)
    stored, wav = load(release, precision=precision), tone(0.5)
    assert len(parts(stored, StoredLinear)) == len(parts(held, Linear)) > 20
    latents, lens = stored.encode_batch(wav)
    torch.testing.assert_close(latents, held.encode_batch(wav)[0])
    torch.testing.assert_close(stored.decode_batch(latents, lens), held.decode_batch(latents, lens))
    exact = load_release(release)
    error = (latents - exact.encode(wav[None])[0]).norm() / latents.norm()
    assert 0 < error < 0.05
    assert (stored.latent_hash, stored.model_hash) == (held.latent_hash, held.model_hash)
    torch.testing.assert_close(copy.deepcopy(stored).encode_batch(wav)[0], latents)


def test_a_model_whose_matrices_are_in_the_file_is_written_whole(monkeypatch, release, tmp_path):
    monkeypatch.setattr(linear, "SMALLEST_BYTES", 1)
    model = load(release, precision="bf16")
    write_release(model.mods.wavcube, tmp_path / "b", card=CARD, dtype=torch.float16)
    again, expected = load_release(tmp_path / "b").state_dict(), load_release(release).state_dict()
    assert again.keys() == expected.keys()
    assert all(torch.equal(again[name], value) for name, value in expected.items())


def test_a_release_that_was_replaced_while_it_is_in_use_is_refused(monkeypatch, release):
    monkeypatch.setattr(linear, "SMALLEST_BYTES", 1)
    model = load(release, precision="bf16")
    write_release(tiny_wavcube("transformer"), release, card=CARD, overwrite=True)
    with pytest.raises(ValueError, match="was replaced after it was opened: load the model again"):
        model.encode_batch(tone(0.5))


def test_a_release_that_is_gone_is_named(monkeypatch, release, tmp_path):
    monkeypatch.setattr(linear, "SMALLEST_BYTES", 1)
    monkeypatch.chdir(tmp_path)
    model = load("a", precision="bf16")
    monkeypatch.chdir("/")
    model.encode_batch(tone(0.5))
    (release / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="safetensors is gone"):
        model.encode_batch(tone(0.5))


@pytest.mark.parametrize("options", [{"freeze_params": False}, {"compile": True}])
def test_what_is_trained_or_compiled_holds_its_matrices(monkeypatch, release, options):
    monkeypatch.setattr(linear, "SMALLEST_BYTES", 1)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **kw: None)
    assert not parts(load(release, precision="bf16", **options), StoredLinear)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_float32_release_is_halved_in_memory(monkeypatch, tmp_path, caplog, precision):
    monkeypatch.setattr(linear, "SMALLEST_BYTES", 1)
    release = write_release(tiny_wavcube("transformer"), tmp_path / "b", card=CARD)
    model = load(release, precision=precision)
    assert not parts(model, StoredLinear)
    halved = {part.weight.dtype for part in parts(model, Linear)}
    assert halved == {torch.bfloat16 if precision == "bf16" else torch.float16}
    assert ("fp16 is slower than float32 on a CPU" in caplog.text) == (precision == "fp16")


def test_the_latent_of_a_float16_release_is_fine_tuned_in_float32(release):
    latent = LatentRepresentation.from_release(release, unfreeze_at=0, lr=1e-4)
    with torch.inference_mode():
        latent.model.encode(tone(0.5)[None])
    assert {value.dtype for value in latent.parameters()} == {torch.float32}
    latent.model.requires_grad_(True).encode(tone(0.5)[None])[0].sum().backward()
    assert sum(value.grad is not None for value in latent.model.encoder.parameters()) > 20
