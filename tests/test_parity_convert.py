"""The converter on a checkpoint of our own making: an earlier layer, float16, and every refusal."""

import json
import logging

import pytest
import torch
import yaml
from safetensors import safe_open
from torch import nn
from transformers import WavLMConfig, WavLMModel

from wavcube.cli.main import main
from wavcube.lobes.bottleneck import SemanticBottleneck
from wavcube.lobes.decoder.causal_transformer import CausalTransformerBackbone
from wavcube.lobes.decoder.decoder import AcousticDecoder, ISTFTHead
from wavcube.lobes.decoder.local_vocoder import LocalVocoder
from wavcube.official.convert import convert_official
from wavcube.release.folder import load_for_training, load_release, read_config
from wavcube.testing import tiny_ssl_config, tone

LAYERS, LAYER, LATENT = 5, 3, 8
THEIR_DECODER_NAMES = {
    "backbone.embed.": "backbone.upsample_proj.",
    "backbone.layers.": "backbone.decoder.layers.",
    "backbone.norm.": "backbone.decoder.layer_norm.",
    "backbone.upsampler.": "backbone.decoder.dconv2.",
    "backbone.vocoder.embed.": "backbone.decoder.vocoder.embeddings.",
    "backbone.vocoder.layers.": "backbone.decoder.vocoder.layers.",
    "backbone.vocoder.norm.": "backbone.decoder.vocoder.layer_norm.",
    "head.out.": "backbone.decoder.vocoder.head.out.",
}
THEIR_LAYER_NAMES = {
    ".attention.": ".self_attn.",
    ".attention_norm.": ".self_attn_layer_norm.",
    ".ffn_norm.": ".final_layer_norm.",
    ".ffn_in.": ".fc1.",
    ".ffn_out.": ".fc2.",
}


def shaken(module: nn.Module) -> nn.Module:
    """Move every weight off its neutral start, to a value that float16 holds exactly."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter)).copy_(parameter.half().float())
    return module.eval()


def their_decoder_state(decoder: AcousticDecoder) -> dict[str, torch.Tensor]:
    state = {"backbone.decoder.vocoder.head.istft.window": torch.hann_window(640)}
    for name, tensor in decoder.state_dict().items():
        start = next(ours for ours in THEIR_DECODER_NAMES if name.startswith(ours))
        theirs = THEIR_DECODER_NAMES[start] + name.removeprefix(start)
        for ours, part in THEIR_LAYER_NAMES.items():
            theirs = theirs.replace(ours, part)
        one_by_one = theirs == "backbone.upsample_proj.weight"
        state[theirs] = tensor[..., None] if one_by_one else tensor
    return state


def their_bottleneck_state(bottleneck: SemanticBottleneck) -> dict[str, torch.Tensor]:
    state = {}
    for name, tensor in bottleneck.state_dict().items():
        side, part, rest = name.split(".", 2)
        kind = "transformer" if part == "layers" else "projection"
        state[f"feature_extractor.{side.split('_')[1][:3]}_{kind}.{rest}"] = tensor
    return state


class Research:
    """A research checkpoint on disk, and the modules that its weights came from."""

    def __init__(self, folder):
        self.folder = folder
        config = {**tiny_ssl_config(), "num_hidden_layers": LAYERS}
        self.wavlm = shaken(WavLMModel(WavLMConfig(**config)))
        (folder / "wavlm_tiny").mkdir()
        text = json.dumps({**self.wavlm.config.to_dict(), "_name_or_path": "/home/somebody"})
        (folder / "wavlm_tiny" / "config.json").write_text(text)
        self.post_norm = shaken(nn.LayerNorm(16, eps=1e-5))
        self.bottleneck = shaken(SemanticBottleneck(16, LATENT, 2, num_heads=2, ffn_dim=24))
        vocoder = LocalVocoder(8, dim=32, num_layers=2, num_heads=16, ffn_dim=48)
        body = CausalTransformerBackbone(LATENT, vocoder, 16, 3, num_heads=2, ffn_dim=40)
        self.decoder = shaken(AcousticDecoder(body, ISTFTHead(32)))
        self.settings = {
            "feature_extractor": {
                "model_id": "wavlm_tiny",
                "layer_idx": LAYER,
                "latent_dim": LATENT,
                "stage": 2,
                "use_vae": False,
            },
            "backbone": {
                "latent_dim": LATENT,
                "d_model": 16,
                "decoder_attention_heads": 2,
                "decoder_ffn_dim": 40,
                "decoder_layers": 3,
                "sampling_rate": 16000,
                "hop_length": 160,
                "window_size": 640,
                "nfft": 640,
                "upsample": True,
            },
        }
        self.state = self.build_state()

    def build_state(self):
        prefix = "feature_extractor."
        wavlm = self.wavlm.state_dict()
        state = {f"{prefix}model.{name}": torch.zeros_like(t) for name, t in wavlm.items()}
        state |= {f"{prefix}rep_model.{name}": tensor for name, tensor in wavlm.items()}
        norm = self.post_norm.state_dict()
        state |= {f"{prefix}post_wavlm_layer_norm.{name}": t for name, t in norm.items()}
        state |= their_bottleneck_state(self.bottleneck) | their_decoder_state(self.decoder)
        state["backbone.decoder.dconv1.conv.weight"] = torch.zeros(4)
        state["utmos.weight"] = state["sim_model.weight"] = torch.zeros(2)
        return {name: tensor.half() for name, tensor in state.items()}

    def write(self):
        torch.save({"state_dict": self.state, "epoch": 1}, self.folder / "model.ckpt")
        parts = {name: {"init_args": part} for name, part in self.settings.items()}
        text = yaml.safe_dump({"model": {"init_args": parts}})
        (self.folder / "config.yaml").write_text(text)

    def convert(self, **options):
        self.write()
        out = self.folder / "out"
        return convert_official(
            self.folder / "model.ckpt", self.folder / "config.yaml", out, **options
        )


@pytest.fixture
def research(tmp_path):
    return Research(tmp_path)


@torch.no_grad()
def expected_latents(research: Research, wav: torch.Tensor) -> torch.Tensor:
    """Latents by transformers' own WavLM: the chosen hidden state, its own norm, the bottleneck."""
    centred = wav - wav.mean()
    normalised = centred / torch.sqrt(centred.square().mean() + 1e-7)
    states = research.wavlm(normalised[None], output_hidden_states=True).hidden_states
    assert len(states) == LAYERS + 1
    return research.bottleneck.encode(research.post_norm(states[LAYER]))


@torch.no_grad()
def test_an_earlier_layer_and_half_precision_storage(research):
    report = research.convert()
    model = load_release(report.folder)
    wav = tone(0.7)
    latents, _ = model.encode(wav[None])
    expected = expected_latents(research, wav)
    assert latents.dtype == torch.float32
    torch.testing.assert_close(latents, expected, atol=2e-5, rtol=0)
    audio = research.decoder(latents)
    torch.testing.assert_close(model.decode(latents), audio, atol=5e-6, rtol=0)


@torch.no_grad()
def test_a_layer_counted_from_the_end(research):
    research.settings["feature_extractor"]["layer_idx"] = LAYER - LAYERS - 1
    model = load_release(research.convert().folder)
    wav = tone(0.3)
    torch.testing.assert_close(
        model.encode(wav[None])[0], expected_latents(research, wav), atol=2e-5, rtol=0
    )


def test_what_was_left_out_is_named(research, caplog):
    with caplog.at_level(logging.INFO, "wavcube"):
        report = research.convert()
    assert report.skipped["feature_extractor.model."] == len(research.wavlm.state_dict())
    assert report.skipped["utmos."] == report.skipped["sim_model."] == 1
    above = [name for name in report.skipped if name.endswith("above the chosen one")]
    assert len(above) == 1
    assert "sim_model." in caplog.text
    assert "/home/somebody" not in (report.folder / "config.json").read_text()


def test_fine_tuning_gets_the_decoding_side(research):
    model, discriminators = load_for_training(research.convert().folder)
    assert discriminators == {}
    expected = research.bottleneck.semantic_decoder.state_dict()
    for name, tensor in model.bottleneck.semantic_decoder.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_a_checkpoint_without_the_decoding_side_is_for_inference_only(research):
    research.state = {n: t for n, t in research.state.items() if ".dec_" not in n}
    folder = research.convert().folder
    load_release(folder)
    with pytest.raises(FileNotFoundError, match=r"training\.safetensors"):
        load_for_training(folder)


def test_both_spellings_of_weight_norm(research):
    first = load_release(research.convert().folder).state_dict()
    for number, letter in (("0", "g"), ("1", "v")):
        name = f"parametrizations.weight.original{number}"
        research.state = {
            key.replace(name, f"weight_{letter}"): tensor for key, tensor in research.state.items()
        }
    assert any(name.endswith("weight_g") for name in research.state)
    second = load_release(research.convert(overwrite=True).folder).state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_model_frames_as_the_original(research):
    model = load_release(research.convert().folder)
    assert [model.num_frames(n) for n in (400, 719, 720, 16000)] == [1, 1, 2, 49]


def test_sizes_may_be_told_beside_the_weights(shared, tmp_path):
    golden = shared / "goldens" / "golden_A"
    for name in ("config.yaml", "config_ext.yaml"):
        convert_official(golden / "wavcube_stage2.ckpt", golden / name, tmp_path / name)
    assert read_config(tmp_path / "config.yaml") == read_config(tmp_path / "config_ext.yaml")


def add(name, value=None):
    def change(research):
        research.state[name] = torch.zeros(1) if value is None else value

    return change


def drop(name):
    return lambda research: research.state.pop(name)


def setting(part, key, value):
    return lambda research: research.settings[part].update({key: value})


def forget(part, key):
    return lambda research: research.settings[part].pop(key)


def twice(research):
    start = "feature_extractor.rep_model.encoder.pos_conv_embed.conv."
    weight = research.state[start + "parametrizations.weight.original0"]
    research.state[start + "weight_g"] = weight


def another_encoder(research):
    path = research.folder / "wavlm_tiny" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_type": "hubert"}))


def other_buckets(research):
    path = research.folder / "wavlm_tiny" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_buckets": 64}))


PROJECTION = "feature_extractor.enc_projection.2.weight"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (add("feature_extractor.mystery.weight"), "mystery"),
        (add("ema.weight"), "1 keys.*ema"),
        (add("feature_extractor.fc_mu.weight", torch.zeros(8, 8)), "unexpected bottleneck.mean"),
        (drop(PROJECTION), "missing bottleneck.semantic_encoder.projection.2.weight"),
        (drop("backbone.upsample_proj.weight"), "no backbone.upsample_proj.weight"),
        (add(PROJECTION, torch.zeros(8, 99)), r"\[8, 99\], not \[8, 12\]"),
        (add(PROJECTION, torch.full((8, 12), torch.nan)), "NaN"),
        (add("backbone.decoder.vocoder.head.istft.window", torch.ones(640)), "Hann"),
        (twice, "twice"),
        (setting("feature_extractor", "stage", 1), "stage 1.*stage 2"),
        (setting("feature_extractor", "stage", 3), "neither 1 nor 2"),
        (setting("feature_extractor", "layer_idx", 5), "layer_idx=5"),
        (setting("feature_extractor", "latent_dim", 9), "latent_dim=9, the weights 8"),
        (setting("backbone", "decoder_ffn_dim", 41), "decoder_ffn_dim=41, the weights 40"),
        (setting("backbone", "vocoder_dim", 33), "vocoder_dim=33, the weights 32"),
        (setting("backbone", "vocoder_attention_heads", 5), "num_heads=5"),
        (setting("backbone", "sampling_rate", 24000), "sampling_rate=24000"),
        (setting("backbone", "window_size", 320), "window_size=320"),
        (setting("backbone", "upsample", False), "upsample=False"),
        (forget("backbone", "nfft"), "does not say nfft"),
        (another_encoder, "'hubert'"),
        (other_buckets, "num_buckets=64"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_written(research, spoil, message):
    spoil(research)
    with pytest.raises(ValueError, match=message):
        research.convert()
    assert not (research.folder / "out").exists()


def test_a_checkpoint_that_may_not_be_read_is_no_broken_one(research, monkeypatch):
    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    research.write()
    monkeypatch.setattr("wavcube.official.convert.Path.open", refuse)  # a test may run as root
    with pytest.raises(PermissionError, match=r"denied: .*model\.ckpt"):
        convert_official(*[research.folder / name for name in ("model.ckpt", "config.yaml", "out")])


class Malicious:
    """A pickle that would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def spoil_pickle(research):
    torch.save({"state_dict": Malicious(research.folder / "pwned")}, research.folder / "model.ckpt")


def spoil_yaml(research):
    target = research.folder / "pwned"
    (research.folder / "config.yaml").write_text(f"a: !!python/object/apply:os.mkdir ['{target}']")


def cut_to(size):
    def truncate(research):
        path = research.folder / "model.ckpt"
        path.write_bytes(path.read_bytes()[:size])

    return truncate


def alter(research):
    path = research.folder / "model.ckpt"
    content = bytearray(path.read_bytes())
    content[80:3000:7] = b"\xff" * len(content[80:3000:7])
    path.write_bytes(content)


def no_state(research):
    torch.save({"weights": {}}, research.folder / "model.ckpt")


def of_another_model(research):
    torch.save({"state_dict": {"a.weight": torch.zeros(1)}}, research.folder / "model.ckpt")


def text(research):
    (research.folder / "model.ckpt").write_text("no checkpoint")


def no_sections(research):
    (research.folder / "config.yaml").write_text("model: 3")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_pickle, r"of it was run\): Unsupported global: GLOBAL _?io.open was .* default\.\Z"),
        (spoil_yaml, "not plain YAML"),
        (cut_to(0), "model.ckpt is not a checkpoint of torch.save: cut short"),
        (cut_to(5000), "model.ckpt is not a checkpoint of torch.save: cut short"),
        (cut_to(-100), "model.ckpt is not a checkpoint of torch.save: cut short"),
        (text, "model.ckpt is not a checkpoint of torch.save"),
        (alter, "model.ckpt"),
        (no_state, "no state_dict"),
        (of_another_model, "model.ckpt holds no WavCube"),
        (no_sections, "no section"),
    ],
)
def test_files_that_run_code_or_are_broken_are_refused(research, spoil, message):
    research.write()
    spoil(research)
    files = [research.folder / name for name in ("model.ckpt", "config.yaml", "out")]
    with pytest.raises(ValueError, match=message):
        convert_official(*files)
    assert not (research.folder / "pwned").exists()
    assert not (research.folder / "out").exists()


@pytest.mark.parametrize("missing", ["model.ckpt", "config.yaml", "wavlm_tiny/config.json"])
def test_missing_files_are_named(research, missing):
    research.write()
    (research.folder / missing).unlink()
    files = [research.folder / name for name in ("model.ckpt", "config.yaml", "out")]
    with pytest.raises(FileNotFoundError, match=missing.split("/")[-1]):
        convert_official(*files)


def test_no_encoder_is_fetched_unasked(research):
    research.settings["feature_extractor"]["model_id"] = "microsoft/wavlm-large"
    with pytest.raises(FileNotFoundError, match="microsoft/wavlm-large beside"):
        research.convert()


def test_a_hub_id_without_a_network_is_one_clear_error(research):
    with pytest.raises(FileNotFoundError, match=r"'nobody/wavlm' is neither a folder nor a hub"):
        research.convert(encoder="nobody/wavlm")
    assert not (research.folder / "out").exists()


def test_the_command_names_what_it_leaves_out(research, capsys):
    research.write()
    files = [str(research.folder / name) for name in ("model.ckpt", "out", "config.yaml")]
    assert main(["convert-official", *files[:2], "--config", files[2], "--half"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"wrote {files[1]}: ")
    assert "left out sim_model. (1 keys)" in said.err
    with safe_open(research.folder / "out" / "model.safetensors", framework="pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}


def test_a_checkpoint_on_the_hub_is_to_be_downloaded_first(research):
    research.write()
    with pytest.raises(FileNotFoundError, match="hf download"):
        convert_official("yhaha/WavCube", research.folder / "config.yaml", research.folder / "out")


def test_optimizer_states_are_left_out_and_a_second_conversion_is_the_same(research):
    first = research.convert(dtype=torch.float16).folder
    files = {path.name: path.read_bytes() for path in first.iterdir()}
    state = {"state_dict": research.state, "optimizer_states": [{"state": {0: torch.ones(99)}}]}
    torch.save(state, research.folder / "model.ckpt")
    options = {"encoder": "wavlm_tiny", "dtype": torch.float16, "overwrite": True}
    names = [research.folder / name for name in ("model.ckpt", "config.yaml", "out")]
    convert_official(*names, **options)
    assert {path.name: path.read_bytes() for path in first.iterdir()} == files


def test_an_encoder_may_be_named_beside_the_configuration(research):
    research.settings["feature_extractor"]["model_id"] = "somewhere/else"
    assert research.convert(encoder="wavlm_tiny").taken > 100


def test_float16_releases(research):
    report = research.convert(dtype=torch.float16)
    model = load_release(report.folder)
    expected = research.decoder.state_dict()
    for name, tensor in model.decoder.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
