"""Tiny networks of known outputs, in the files that DNSMOS and UTMOS come in."""

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

WINDOW = 144160
GAINS = np.array([1.0, 2.0, 3.0], dtype=np.float32)
OFFSETS = np.array([2.0, 1.0, 0.5], dtype=np.float32)


def write_onnx(path, gains=GAINS, offsets=OFFSETS, rank=2):
    """A network that gives `gains * mean(window) + offsets`."""
    shape = ["batch", WINDOW] if rank == 2 else ["batch", 900, 120]
    nodes = [
        helper.make_node("ReduceMean", ["input_1"], ["mean"], axes=[*range(1, rank)]),
        helper.make_node("Mul", ["mean", "gains"], ["scaled"]),
        helper.make_node("Add", ["scaled", "offsets"], ["ratings"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input_1", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("ratings", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(gains, "gains"), numpy_helper.from_array(offsets, "offsets")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


class Loudness(torch.nn.Module):
    """Refuses anything but 16-bit samples, and at least 400 of them; puts a constant on the GPU."""

    def forward(self, wav):
        if wav.dtype != torch.int16 or wav.shape[1] < 400:
            raise ValueError("at least 400 samples of 16 bits")
        one = torch.ones([1], device=torch.device("cuda:0"))
        return one + wav.float().abs().mean(dim=1) / 8192


class Outer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Loudness()

    def forward(self, wav):
        return self.inner(wav.to(torch.device("cuda:0")))


class Mean(torch.nn.Module):
    """Refuses integers, as a network that begins with a convolution does."""

    def forward(self, wav):
        return torch.nn.functional.conv1d(wav[:, None], torch.ones(1, 1, 1)).mean()


class Pair(torch.nn.Module):
    def forward(self, wav):
        return wav[:, :2].float()


def write_script(path, module):
    torch.jit.save(torch.jit.script(module), path)
    return path
