"""Weights written one at a time: the same files as safetensors', and little memory."""

import os
import sys
import weakref
from collections.abc import Mapping

import pytest
import torch
from safetensors.torch import load_file, save_file

from wavcube.release.config_file import model_hash
from wavcube.release.weights import StoredWeights, drop_pages, write_weights

MIXED = {
    "b.weight": torch.randn(3, 5),
    "a.count": torch.tensor(7),
    "c.flags": torch.tensor([True, False, True]),
    "d.empty": torch.zeros(0, 4),
    "e.transposed": torch.randn(4, 3).T,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_files_are_read_by_safetensors_and_as_large_as_its_own(tmp_path, dtype):
    stored = write_weights(tmp_path / "ours", MIXED, dtype)
    expected = {k: v.to(dtype) if v.is_floating_point() else v for k, v in MIXED.items()}
    found = load_file(tmp_path / "ours")
    assert found.keys() == stored.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == stored[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
        assert torch.equal(stored[name], tensor)
    contiguous = {name: tensor.contiguous() for name, tensor in expected.items()}
    save_file(contiguous, tmp_path / "theirs", metadata={"format": "pt"})
    assert (tmp_path / "ours").stat().st_size == (tmp_path / "theirs").stat().st_size
    assert model_hash({}, stored) == model_hash({}, expected)


class Fresh(Mapping):
    """Makes each tensor when it is asked for, and counts how many are alive at once."""

    def __init__(self, count):
        self.names, self.alive, self.most = [f"w{i}" for i in range(count)], weakref.WeakSet(), 0

    def __getitem__(self, name):
        tensor = torch.ones(100)
        self.alive.add(tensor)
        self.most = max(self.most, len(self.alive))
        return tensor

    def __iter__(self):
        return iter(self.names)

    def __len__(self):
        return len(self.names)


def test_one_tensor_is_in_memory_at_a_time(tmp_path):
    tensors, done = Fresh(50), []
    write_weights(
        tmp_path / "file", tensors, torch.float16, lambda tensor: done.append(len(tensor))
    )
    # the one that was written last lives until the next has its name
    assert tensors.most <= 2
    assert done == [100] * 50


def test_an_unknown_weight_is_a_key_error(tmp_path):
    stored = write_weights(tmp_path / "file", {"a": torch.zeros(1)}, torch.float32)
    assert isinstance(stored, StoredWeights)
    with pytest.raises(KeyError):
        stored["b"]


def test_a_file_that_was_replaced_is_refused(tmp_path):
    stored = write_weights(tmp_path / "file", {"a": torch.zeros(3)}, torch.float32)
    write_weights(tmp_path / "other", {"a": torch.ones(3)}, torch.float32)
    assert torch.equal(stored["a"], torch.zeros(3))
    os.replace(tmp_path / "other", tmp_path / "file")
    with pytest.raises(ValueError, match="file was replaced after it was opened"):
        stored["a"]


def mapped_memory():
    with open("/proc/self/status", encoding="utf-8") as file:
        (line,) = [line for line in file if line.startswith("RssFile")]
    return int(line.split()[1]) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="the memory is measured by Linux' means")
def test_pages_of_a_mapped_checkpoint_are_given_back_and_read_again(tmp_path):
    torch.save({"weight": torch.randn(10_000_000)}, tmp_path / "file")
    weight = torch.load(tmp_path / "file", mmap=True, weights_only=True)["weight"]
    before, total = mapped_memory(), weight.double().sum()
    read = mapped_memory()
    drop_pages(weight)
    assert read - before > 30, "40 MB were read"
    assert mapped_memory() - before < 5
    assert weight.double().sum() == total
