"""A file of latents says what it is, and anything else is an error that says why."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from wavcube.inference.latent_files import Latents

GOOD = Latents(torch.randn(3, 8), 900, 16000, 50.0, "f" * 64)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.safetensors"
    GOOD.save(path)
    return path


def test_everything_comes_back(path):
    again = Latents.load(path)
    assert torch.equal(again.latents, GOOD.latents)
    assert [again.num_samples, again.sample_rate, again.frame_rate] == [900, 16000, 50.0]
    assert again.latent_hash == GOOD.latent_hash
    # any safetensors reader reads it
    assert list(load_file(path)) == ["latents"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(path, value):
    latents = GOOD.latents.clone()
    latents[2, 1] = value
    with pytest.raises(ValueError, match="frame 2"):
        Latents(latents, 900, 16000, 50.0, "f")
    data = bytearray(path.read_bytes())
    data[-4:] = torch.tensor([value]).numpy().tobytes()
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.safetensors.*frame 2"):
        Latents.load(path)


@pytest.mark.parametrize("shape", [(8,), (1, 3, 8), (0, 8)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="frames, width"):
        Latents(torch.zeros(shape), 900, 16000, 50.0, "f")


def test_integers_are_refused():
    with pytest.raises(ValueError, match="int64"):
        Latents(torch.zeros(3, 8, dtype=torch.long), 900, 16000, 50.0, "f")


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-7])


def _empty(path):
    path.write_bytes(b"")


def _noise(path):
    path.write_bytes(b"\x80\x04K\x01." * 40)


def _weights(path):
    save_file({"latents": torch.zeros(3, 8)}, path)


def _newer(path):
    path.write_bytes(path.read_bytes().replace(b'version":"1"', b'version":"9"'))


def _lacking(path):
    path.write_bytes(path.read_bytes().replace(b"num_samples", b"num_simples"))


def _nonsense(path):
    path.write_bytes(path.read_bytes().replace(b'"900"', b'"9x0"'))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_truncate, "complete"),
        (_empty, "complete"),
        (_noise, "complete"),
        (_weights, "no latents"),
        (_newer, "version 9"),
        (_lacking, "num_samples"),
        (_nonsense, "9x0"),
    ],
)
def test_broken_files_are_refused(path, spoil, message):
    spoil(path)
    with pytest.raises(ValueError, match=message) as caught:
        Latents.load(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone"):
        Latents.load(tmp_path / "gone.safetensors")
