"""Exported networks under onnxruntime against torch, and the NumPy inverse transform."""

import runpy
import sys

import numpy as np
import onnxruntime
import pytest
import torch
from releases import random_release, random_wavcube

from wavcube.cli.main import main
from wavcube.data.audio import write_audio
from wavcube.lobes.decoder.decoder import ISTFTHead
from wavcube.onnx.export import export_onnx
from wavcube.onnx.numpy_istft import inverse_stft
from wavcube.release.folder import latent_hash, load_release
from wavcube.testing import tiny_acoustic_codec, tiny_ssl_config, tone

LENGTHS = (1000, 16000, 50123)
PARTS = {
    "packaged": None,
    "paper": {"backbone": "transformer", "variational": True},
    "mixed": {"encoder": "filterbank_wavlm", "with_layer_mix": True, "with_skip": True},
    "hubert": {"encoder": "hubert", "with_basis": True},
}


class Exported:
    """A model and its two networks."""

    def __init__(self, model, folder):
        self.model, self.folder = model, export_onnx(model, folder)
        self.encoder, self.decoder = (
            onnxruntime.InferenceSession(folder / name) for name in ("encoder.onnx", "decoder.onnx")
        )

    def encode(self, wavs):
        return self.encoder.run(None, {"wavs": wavs.numpy()})[0]

    def decode(self, latents):
        facts = self.decoder.get_modelmeta().custom_metadata_map
        spectrum = self.decoder.run(None, {"latents": latents})
        return inverse_stft(*spectrum, int(facts["stft_hop"]))


@pytest.fixture(scope="module", params=PARTS)
def exported(request, repository, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx") / "model"
    if request.param == "packaged":
        model = load_release(repository / "wavcube" / "pretrained" / "wavcube_tiny")
    else:
        model = random_wavcube(**PARTS[request.param])
    return Exported(model, folder)


@torch.no_grad()
@pytest.mark.parametrize("length", LENGTHS)
def test_networks_equal_torch_at_any_length(exported, length):
    wavs = torch.stack([tone(length / 16000, seed) for seed in (1, 2)])
    expected, _ = exported.model.encode(wavs)
    latents = exported.encode(wavs)
    assert latents.shape == expected.shape
    scale = float(expected.abs().max())
    assert np.abs(latents - expected.numpy()).max() <= 1e-4 * scale
    audio = exported.model.decode(expected)
    copies = exported.decode(expected.numpy())
    assert copies.shape == audio.shape
    assert np.abs(copies - audio.numpy()).max() <= 1e-4


def test_networks_say_what_they_are(exported):
    model = exported.model
    for session in (exported.encoder, exported.decoder):
        facts = session.get_modelmeta().custom_metadata_map
        assert facts == {
            "sample_rate": str(model.sample_rate),
            "hop": str(model.hop),
            "latent_dim": str(model.latent_dim),
            "latent_hash": latent_hash(model),
            "n_fft": "640",
            "stft_hop": "160",
        }


@torch.no_grad()
def test_long_distances_and_windows_are_those_of_the_lobes(tmp_path):
    # further than max_distance, where every distance has one bias; beyond the window, none
    far = {**tiny_ssl_config(), "num_buckets": 8, "max_bucket_distance": 12}
    near = {**tiny_ssl_config("filterbank_wavlm"), "attention_window": 9}
    for name, config in {"far": far, "near": near}.items():
        model = random_wavcube()
        model.encoder = type(model.encoder)(config)
        wavs = tone(2.0)[None]
        made = Exported(model.eval(), tmp_path / name).encode(wavs)
        assert np.abs(made - model.encode(wavs)[0].numpy()).max() <= 1e-4


@torch.no_grad()
def test_an_earlier_layer_and_the_original_s_framing(tmp_path):
    model = random_wavcube()
    config = {**tiny_ssl_config(), "num_hidden_layers": 3}
    model.encoder, model.official_framing = type(model.encoder)(config, layer=2), True
    made = Exported(model.eval(), tmp_path / "model")
    for length in (400, 719, 720, 16000):
        wavs = tone(length / 16000)[None]
        expected, _ = model.encode(wavs)
        latents = made.encode(wavs)
        assert latents.shape == expected.shape
        assert np.abs(latents - expected.numpy()).max() <= 1e-4


@torch.no_grad()
@pytest.mark.parametrize(("n_fft", "hop"), [(640, 160), (32, 8), (64, 32)])
def test_the_inverse_transform_is_the_head_s(n_fft, hop):
    head = ISTFTHead(6, n_fft, hop)
    hidden = 2 * torch.randn(2, 9, 6)
    log_magnitude, phase = head.out(hidden).chunk(2, dim=-1)
    made = inverse_stft(log_magnitude.exp().clamp(max=100.0).numpy(), phase.numpy(), hop)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, head(hidden).numpy(), atol=1e-5, rtol=0)


def test_spectra_of_other_shapes_are_refused():
    ones = np.ones((1, 5, 17))
    for magnitude, phase, hop in ((ones, ones[:, 1:], 8), (ones[0], ones[0], 8), (ones, ones, 7)):
        with pytest.raises(ValueError, match=r"must both be|not a multiple"):
            inverse_stft(magnitude, phase, hop)


def test_the_command_writes_a_folder_once(tmp_path, capsys):
    release, out = random_release(tmp_path / "release"), tmp_path / "out"
    assert main(["export-onnx", str(release), str(out)]) == 0
    assert capsys.readouterr().out == f"wrote {out}\n"
    names = ["decoder.onnx", "encoder.onnx", "numpy_istft.py"]
    assert sorted(path.name for path in out.iterdir()) == names
    # it needs nothing of this package
    assert "wavcube" not in runpy.run_path(out / "numpy_istft.py")
    assert main(["export-onnx", str(release), str(out)]) == 2
    assert "not empty" in capsys.readouterr().err
    assert main(["export-onnx", str(release), str(out), "--overwrite"]) == 0
    assert main(["export-onnx", str(release), str(release), "--overwrite"]) == 2
    assert "holds no encoder.onnx" in capsys.readouterr().err
    assert main(["export-onnx", str(tmp_path), str(tmp_path / "new")]) == 2
    assert not (tmp_path / "new").exists()


def test_other_models_and_a_missing_onnx_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="AcousticCodec cannot be exported"):
        export_onnx(tiny_acoustic_codec(), tmp_path / "out")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ValueError, match=r"wavcube\[onnx\]"):
        export_onnx(random_wavcube(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_readme_s_lines_run_as_printed(repository, tmp_path, monkeypatch):
    text = (repository / "README.md").read_text(encoding="utf-8")
    blocks = [block.split("```")[0] for block in text.split("```python\n")[1:]]
    (lines,) = [block for block in blocks if "import onnxruntime" in block]
    export_onnx(random_wavcube(), tmp_path / "networks")
    write_audio(tmp_path / "me.wav", tone(0.7), 16000)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    exec(compile(lines, "README.md", "exec"), {})
    assert (tmp_path / "copy.wav").stat().st_size == (tmp_path / "me.wav").stat().st_size
