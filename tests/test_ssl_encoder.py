"""SSL encoders: equal to transformers', exact in padded batches, strict about their weights."""

import json
import os

import pytest
import torch
from transformers import HubertModel, Wav2Vec2Model, WavLMModel

from wavcube.lobes.ssl.encoder import MODEL_TYPES, SSLEncoder
from wavcube.release.ssl_folder import load_encoder, write_encoder
from wavcube.testing import tiny_ssl_config, tiny_ssl_encoder, tone

REFERENCES = {"wavlm": WavLMModel, "hubert": HubertModel, "wav2vec2": Wav2Vec2Model}
LENGTHS = [800, 8000, 20_801, 64_000]


def normalised(wav):
    return (wav - wav.mean()) / torch.sqrt(wav.var(unbiased=False) + 1e-7)


def reference_of(config):
    settings = {key: value for key, value in config.items() if key != "model_type"}
    config_class = MODEL_TYPES[config["model_type"]][0]
    return REFERENCES[config["model_type"]](config_class(**settings)).eval()


@pytest.mark.parametrize("norm", ["layer", "group"])
@pytest.mark.parametrize("model_type", REFERENCES)
@torch.no_grad()
def test_equals_transformers(model_type, norm):
    config = tiny_ssl_config(model_type, norm)
    reference = reference_of(config)
    encoder = SSLEncoder(config).eval()
    encoder.model.load_state_dict(reference.state_dict())
    wav = tone(1.0)[None]
    ours = encoder(wav, num_frames=torch.tensor([49])).feature
    theirs = reference(normalised(wav)).last_hidden_state
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=0)


@pytest.mark.parametrize("model_type", [*REFERENCES, "filterbank_wavlm"])
@pytest.mark.parametrize("norm", ["layer", "group"])
@torch.no_grad()
def test_item_does_not_depend_on_its_batch(model_type, norm):
    encoder = SSLEncoder(tiny_ssl_config(model_type, norm)).eval()
    noise = torch.randn(len(LENGTHS), max(LENGTHS))
    together = encoder(noise, torch.tensor(LENGTHS))
    for row, samples in enumerate(LENGTHS):
        alone = encoder(noise[row : row + 1, :samples]).feature
        batched = together.feature[row, : together.num_frames[row]]
        assert alone.shape[1] == together.num_frames[row] == -(-samples // encoder.hop)
        torch.testing.assert_close(batched, alone[0], atol=1e-4, rtol=0)
        assert not together.feature[row, together.num_frames[row] :].any()


@torch.no_grad()
def test_inner_layer_is_built_no_deeper_and_normalised(tmp_path):
    full = tiny_ssl_encoder().eval()
    write_encoder(full, tmp_path)
    cut = load_encoder(tmp_path, layer=1).eval()
    assert cut.num_layers == 1
    wav = tone(0.5)[None]
    state = full(wav).states[1]
    expected = torch.nn.functional.layer_norm(state, (full.dim,), eps=1e-5)
    torch.testing.assert_close(cut(wav).feature, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@torch.no_grad()
def test_written_folder_loads_back(tmp_path, dtype):
    encoder = tiny_ssl_encoder("filterbank_wavlm").eval()
    write_encoder(encoder, tmp_path, dtype)
    loaded = load_encoder(tmp_path).eval()
    assert loaded.config() == encoder.config()
    for name, value in encoder.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.to(dtype).float())


def test_reads_transformers_folders_and_older_names(tmp_path):
    config = tiny_ssl_config()
    reference = reference_of(config)
    weights = reference.state_dict()
    stem = "encoder.pos_conv_embed.conv."
    weights[stem + "weight_g"] = weights.pop(stem + "parametrizations.weight.original0")
    weights[stem + "weight_v"] = weights.pop(stem + "parametrizations.weight.original1")
    weights["lm_head.weight"] = torch.zeros(2, 2)
    (tmp_path / "config.json").write_text(json.dumps(config))
    torch.save({f"wavlm.{k}": v for k, v in weights.items()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="unexpected"):  # lm_head is foreign only outside the base
        load_encoder(_with(tmp_path, {**weights, "strange.weight": torch.zeros(1)}))
    encoder = load_encoder(_with(tmp_path, weights))
    assert torch.equal(
        encoder.model.state_dict()["masked_spec_embed"], weights["masked_spec_embed"]
    )


def _with(folder, weights):
    torch.save(
        {f"wavlm.{name}": value for name, value in weights.items()}, folder / "pytorch_model.bin"
    )
    return folder


class Bomb:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_a_pickle_that_runs_code_is_refused_by_name(tmp_path):
    write_encoder(tiny_ssl_encoder(), tmp_path)
    (tmp_path / "model.safetensors").unlink()
    path = tmp_path / "pytorch_model.bin"
    torch.save({"masked_spec_embed": Bomb(tmp_path / "mark")}, path)
    with pytest.raises(ValueError, match=r"pytorch_model\.bin .*run code"):
        load_encoder(tmp_path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"pytorch_model\.bin .*broken"):
        load_encoder(tmp_path)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda weights: weights.pop("masked_spec_embed"), "missing"),
        (lambda weights: weights.update(strange=torch.zeros(1)), "unexpected"),
        (lambda weights: weights.update(masked_spec_embed=torch.zeros(3)), "has size"),
    ],
)
def test_weights_load_strictly(tmp_path, damage, message):
    from safetensors.torch import load_file, save_file

    write_encoder(tiny_ssl_encoder(), tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    damage(weights)
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=message):
        load_encoder(tmp_path)


def test_wrong_sources_and_settings_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        load_encoder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(tiny_ssl_config()))
    with pytest.raises(FileNotFoundError, match="safetensors"):
        load_encoder(tmp_path)
    (tmp_path / "config.json").write_text("{broken")
    with pytest.raises(ValueError, match=r"config\.json is not JSON"):
        load_encoder(tmp_path)
    with pytest.raises(FileNotFoundError, match="neither a folder nor"):
        load_encoder("no-such-owner/no-such-model")
    with pytest.raises(ValueError, match="model_type 'whisper'"):
        SSLEncoder({"model_type": "whisper"})
    with pytest.raises(ValueError, match="layer 2 of 2"):
        SSLEncoder(tiny_ssl_config(), layer=2)
    with pytest.raises(ValueError, match="trainable 'some'"):
        tiny_ssl_encoder().set_trainable("some")


@pytest.mark.parametrize(
    ("what", "front", "body"),
    [
        ("none", False, False),
        ("transformer", False, True),
        ("all", True, True),
    ],
)
def test_set_trainable(what, front, body):
    encoder = tiny_ssl_encoder()
    encoder.set_trainable(what)
    model = encoder.model
    assert {p.requires_grad for p in model.feature_extractor.parameters()} == {front}
    assert {p.requires_grad for p in model.encoder.parameters()} == {body}


def test_training_is_deterministic_without_dropout():
    encoder = tiny_ssl_encoder().train()
    wav = tone(0.5)[None]
    torch.testing.assert_close(encoder(wav).feature, encoder(wav).feature, atol=0, rtol=0)


def test_what_an_evaluation_caches_serves_training():
    encoder, wavs = tiny_ssl_encoder(), torch.randn(1, 320 * 37)
    with torch.inference_mode():
        encoder(wavs)
    encoder(wavs).feature.square().sum().backward()
    assert encoder.model.encoder.layers[0].attention.rel_attn_embed.weight.grad.any()


def test_frozen_encoder_builds_no_graph():
    encoder = tiny_ssl_encoder().train()
    encoder.set_trainable("none")
    assert not encoder(tone(0.2)[None]).feature.requires_grad


@torch.no_grad()
def test_span_mask_replaces_the_input():
    encoder = tiny_ssl_encoder("filterbank_wavlm").eval()
    one, other = tone(1.0, 1)[None], tone(1.0, 2)[None]
    everything = torch.ones(1, 50, dtype=torch.bool)
    torch.testing.assert_close(
        encoder(one, span_mask=everything).feature, encoder(other, span_mask=everything).feature
    )
    assert not torch.equal(encoder(one).feature, encoder(other).feature)


@torch.no_grad()
def test_filter_bank_keeps_the_level():
    encoder = tiny_ssl_encoder("filterbank_wavlm").eval()
    wav = tone(0.5)[None]
    quiet, loud = encoder(0.1 * wav).states[0], encoder(wav).states[0]
    assert (quiet - loud).abs().max() > 0.1
    waveform = tiny_ssl_encoder("wavlm").eval()
    torch.testing.assert_close(
        waveform(0.1 * wav).feature, waveform(wav).feature, atol=1e-3, rtol=0
    )
