"""What makes a model faster or smaller changes what it computes by no more than is said."""

import copy

import pytest
import torch
from processes import run_code
from safetensors.torch import load_file, save_file
from torch import nn

from wavcube.cli.main import main
from wavcube.data.audio import write_audio
from wavcube.inference import WavCube
from wavcube.inference.base import REPEATED
from wavcube.inference.latent_files import Latents
from wavcube.lobes.layers.linear import Linear, QuantizedLinear, linear_gelu
from wavcube.lobes.layers.modes import activation_checkpointing
from wavcube.lobes.ssl.encoder import SSLEncoder
from wavcube.lobes.ssl.transformer import GlobalAttention, RelativeTransformer
from wavcube.release.folder import build, load_release, read_config
from wavcube.release.source import packaged_model
from wavcube.release.weights import init_empty, is_empty, load_release_weights, settle_types
from wavcube.testing import tiny_ssl_config, tiny_wavcube, tone


def relative(made, expected):
    return float((made - expected).norm() / expected.norm())


def load(**options):
    return WavCube.from_hparams(run_opts={"device": "cpu", **options})


@pytest.fixture(scope="module")
def packaged():
    model = load()
    wav = tone(2.0)
    return model, wav, model.encode_batch(wav)[0]


def test_onednn_s_linear_equals_torch_s():
    linear, x = Linear(48, 32), torch.randn(3, 20, 48)
    expected = nn.functional.linear(x, linear.weight, linear.bias)
    assert linear(x).requires_grad
    with torch.no_grad():
        torch.testing.assert_close(linear(x), expected, atol=1e-5, rtol=1e-5)
        unbiased = Linear(48, 32, bias=False)
        torch.testing.assert_close(unbiased(x), x @ unbiased.weight.t(), atol=1e-5, rtol=1e-5)


def test_a_linear_with_its_gelu_in_one_kernel_equals_both_and_hooks_see_the_linear(monkeypatch):
    linear, x, seen = Linear(48, 32), 4 * torch.randn(3, 20, 48), []
    product = nn.functional.linear(x, linear.weight, linear.bias)
    expected = nn.functional.gelu(product)
    assert linear_gelu(linear, x).requires_grad
    with torch.no_grad():
        with monkeypatch.context() as without_torch_s:
            without_torch_s.setattr(nn.functional, "gelu", None)
            torch.testing.assert_close(linear_gelu(linear, x), expected, atol=1e-5, rtol=1e-5)
        quantized = linear_gelu(QuantizedLinear(linear), x)
        assert 0 < relative(quantized, expected) < 0.03
        linear.register_forward_hook(lambda layer, given, made: seen.append(made))
        torch.testing.assert_close(linear_gelu(linear, x), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(seen[0], product, atol=1e-5, rtol=1e-5)


def test_int8_is_near_float32_on_a_processor_that_adds_products_in_16_bits(tmp_path):
    (tmp_path / "in").mkdir()
    code = (
        "import os\n"
        "os.environ['ONEDNN_MAX_CPU_ISA'] = 'AVX2'\n"
        "import torch\n"
        "from wavcube.lobes.layers.linear import QuantizedLinear\n"
        "linear, x = torch.nn.Linear(256, 64), torch.randn(60, 256)\n"
        "error = (QuantizedLinear(linear)(x) - linear(x)).norm() / linear(x).norm()\n"
        "assert 0 < error < 0.03, error\n"
    )
    ended = run_code(code, tmp_path / "in")
    assert ended.returncode == 0, ended.stderr


# one head at a time and its queries in blocks, the last of them short; two heads and one, whole
@pytest.mark.parametrize(("most", "fewest"), [(1, 30), (2 * 2 * 100 * 100, 256)])
@pytest.mark.parametrize("padded", [False, True])
def test_groups_of_heads_and_blocks_of_queries_equal_the_full_matrix(
    monkeypatch, padded, most, fewest
):
    biases, gate = torch.randn(3, 199), torch.rand(2, 3, 100, 1)
    mask = torch.arange(100)[None] < torch.tensor([[100], [60]]) if padded else None
    heads = torch.randn(3, 2, 3, 100, 8)
    full = GlobalAttention(biases, mask)
    assert full.bias is not None
    expected = full(*heads, gate)
    monkeypatch.setattr("wavcube.lobes.ssl.transformer.MOST_BIASES_CPU", most)
    monkeypatch.setattr("wavcube.lobes.ssl.transformer.FEWEST_QUERIES", fewest)
    with torch.no_grad():
        pieces = GlobalAttention(biases, mask)
        assert pieces.bias is None
        torch.testing.assert_close(pieces(*heads, gate), expected, atol=1e-5, rtol=1e-5)
        assert pieces.scratch.numel() < full.bias.numel() * 2


@pytest.mark.parametrize("rounded", [False, True])
def test_compiled_attention_is_traced_once_for_a_length(rounded):
    compiled, graphs = RelativeTransformer(16, 2, num_heads=2, ffn_dim=32).eval(), []
    eager, x = copy.deepcopy(compiled), torch.randn(1, 9, 16)

    def note(graph, _):
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    for layer in compiled:
        layer.compile(backend=note)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=rounded):
        expected = eager(x)
        for _ in range(2):
            assert relative(compiled(x), expected) < (0.005 if rounded else 1e-6)
    assert len(graphs) == 1  # for both layers, both times


# two heads at once, and one at a time
@pytest.mark.parametrize("most", [2**20, 2 * 50 * 50])
@pytest.mark.parametrize("padded", [False, True])
def test_a_cpu_adds_position_biases_that_no_autocast_has_rounded(monkeypatch, padded, most):
    monkeypatch.setattr("wavcube.lobes.ssl.transformer.MOST_BIASES_ROUNDED", most)
    biases, heads = 100 * torch.randn(2, 99), torch.randn(3, 2, 2, 50, 8).bfloat16()
    gate = torch.rand(2, 2, 50, 1)
    mask = torch.arange(50)[None] < torch.tensor([[50], [30]]) if padded else None
    with torch.no_grad():
        expected = GlobalAttention(biases, mask)(*heads.float(), gate)
        with torch.autocast("cpu", torch.bfloat16):
            made = GlobalAttention(biases, mask)(*heads, gate)
    assert made.dtype == torch.bfloat16
    assert relative(made.float(), expected) < 0.005


def test_a_front_end_in_pieces_equals_the_whole():
    encoder, wav = SSLEncoder(tiny_ssl_config()).eval(), tone(4.6)[None]
    whole = encoder._front_end(wav)
    with torch.no_grad():
        torch.testing.assert_close(encoder._front_end(wav), whole, atol=1e-5, rtol=1e-5)


def test_layers_that_are_not_wanted_are_not_kept():
    encoder, wav = SSLEncoder(tiny_ssl_config()).eval(), tone(0.5)[None]
    everything, last = encoder(wav), encoder(wav, keep_states=False)
    assert len(everything.states) == 3
    assert len(last.states) == 1
    torch.testing.assert_close(last.feature, everything.feature, atol=1e-6, rtol=1e-6)


def test_bf16_is_near_float32(packaged):
    _, wav, expected = packaged
    model = load(precision="bf16")
    latents, lens = model.encode_batch(wav)
    assert latents.dtype == torch.float32
    assert 1e-4 < relative(latents, expected) < 0.02
    audio = model.decode_batch(latents, lens)
    assert audio.dtype == torch.float32
    assert relative(audio, packaged[0].decode_batch(expected)) < 0.1


def test_int8_is_near_float32_and_of_the_same_kind(packaged):
    float32, wav, expected = packaged
    model = load(quantize="int8")
    replaced = [m for m in model.modules() if isinstance(m, QuantizedLinear)]
    assert len(replaced) > 20
    assert 1e-4 < relative(model.encode_batch(wav)[0], expected) < 0.05
    assert model.latent_hash == float32.latent_hash
    assert model.model_hash == float32.model_hash


def test_the_command_line_chooses_the_precision(tmp_path, packaged):
    model, wav, _ = packaged
    write_audio(tmp_path / "a.wav", wav, 16000)
    out = str(tmp_path / "a.safetensors")
    command = ["encode", str(tmp_path / "a.wav"), "--device", "cpu", "--out", out]
    assert main([*command, "--precision", "int8"]) == 0
    stored, expected = Latents.load(out), model.encode_file(tmp_path / "a.wav")[0]
    assert stored.latent_hash == model.latent_hash
    assert 1e-4 < relative(stored.latents, expected) < 0.05


def test_options_are_checked_before_anything_is_built():
    for options, message in (
        ({"precision": "half"}, "precision 'half' is not one of"),
        ({"precision": "int8"}, "int8 is not a precision: give quantize='int8'"),
        ({"quantize": "int4"}, "quantize 'int4' is not one of"),
        ({"quantize": "int8", "precision": "bf16"}, "quantize goes with precision 'fp32'"),
    ):
        with pytest.raises(ValueError, match=message):
            WavCube({"wavcube": tiny_wavcube()}, run_opts={"device": "cpu", **options})


def test_repeated_layers_are_compiled_in_place(monkeypatch):
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **kw: compiled.append((self, kw)))
    lobe = tiny_wavcube()
    names = list(lobe.state_dict())
    model = WavCube(
        {"wavcube": lobe},
        run_opts={"device": "cpu", "compile": True, "compile_mode": "max-autotune"},
    )
    assert {type(part) for part, _ in compiled} <= set(REPEATED)
    assert len(compiled) == 6
    assert all(options["mode"] == "max-autotune" for _, options in compiled)
    assert list(model.mods.wavcube.state_dict()) == names


def test_weights_are_those_of_the_file():
    folder = packaged_model()
    eager = load_release(folder)
    config = read_config(folder)
    with init_empty():
        lazy = build(config)
    assert is_empty(lazy)
    load_release_weights(lazy, folder / "model.safetensors")
    assert not is_empty(lazy)
    settle_types(lazy, keep_half=True)
    types = {p.dtype for p in lazy.parameters()}
    assert types <= {torch.float32, torch.float16}
    settle_types(lazy, keep_half=False)
    for name, value in eager.state_dict().items():
        assert torch.equal(lazy.state_dict()[name], value), name
    assert all(p.requires_grad for p in lazy.parameters())


def test_a_missing_weight_is_an_error_for_mapped_ones_too(tmp_path):
    tensors = dict(load_file(packaged_model() / "model.safetensors"))
    tensors.pop("decoder.head.out.bias")
    save_file(tensors, tmp_path / "model.safetensors")
    with init_empty():
        lazy = build(read_config(packaged_model()))
    with pytest.raises(ValueError, match=r"missing decoder\.head\.out\.bias"):
        load_release_weights(lazy, tmp_path / "model.safetensors")


def test_recomputed_activations_give_the_same_gradients():
    torch.manual_seed(0)
    model = tiny_wavcube("transformer").train()
    other, wav = copy.deepcopy(model), tone(0.3)[None]
    assert activation_checkpointing(other) > 0
    results = []
    for lobe in (model, other):
        out = lobe(wav)
        (out.audio.square().mean() + out.feature_hat.square().mean()).backward()
        results.append({n: p.grad for n, p in lobe.named_parameters() if p.grad is not None})
    assert results[0].keys() == results[1].keys()
    for name, gradient in results[0].items():
        torch.testing.assert_close(results[1][name], gradient, atol=1e-6, rtol=1e-4)
