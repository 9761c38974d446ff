"""Every representation under one interface: exact in padded batches, frozen or fine-tuned."""

import pytest
import torch
from codec_models import ENCODEC, MIMI, save_codec
from hyperpyyaml import load_hyperpyyaml
from releases import random_release
from safetensors.torch import load_file, save_file

from wavcube.lobes.ssl.encoder import SSLEncoder
from wavcube.release.ssl_folder import write_encoder
from wavcube.representations import (
    CodecRepresentation,
    LatentRepresentation,
    MelRepresentation,
    SSLRepresentation,
)
from wavcube.testing import tiny_acoustic_codec, tiny_ssl_config, tiny_ssl_encoder, tiny_wavcube


def group_norm_encoder():
    return SSLEncoder(tiny_ssl_config("hubert", norm="group"))


KINDS = {
    "wavcube": lambda: LatentRepresentation(tiny_wavcube(with_layer_mix=True, with_skip=True)),
    "variational": lambda: LatentRepresentation(tiny_wavcube(variational=True)),
    "acoustic": lambda: LatentRepresentation(tiny_acoustic_codec()),
    "ssl": lambda: SSLRepresentation(tiny_ssl_encoder()),
    "ssl-group": lambda: SSLRepresentation(group_norm_encoder()),
    "ssl-filterbank": lambda: SSLRepresentation(tiny_ssl_encoder("filterbank_wavlm")),
    "mel": lambda: MelRepresentation(num_mel_bins=8),
    "encodec": lambda: CodecRepresentation(ENCODEC),
    "mimi": lambda: CodecRepresentation(MIMI),
}
LENGTHS = (4000, 1, 3999, 2500, 640)
PADDED = 5000


def noisy_batch(lengths=LENGTHS, size=PADDED):
    """Items of some lengths, none of which fills the batch, with noise in the padding."""
    wavs = 0.3 * torch.randn(len(lengths), size)
    return wavs, torch.tensor(lengths) / size


@pytest.mark.parametrize("kind", KINDS)
def test_an_item_is_the_same_alone_and_in_a_padded_batch(kind):
    representation = KINDS[kind]()
    wavs, lens = noisy_batch()
    features, out_lens = representation(wavs, lens)
    counts = (out_lens * features.shape[1]).round().long().tolist()
    assert counts == [representation.num_frames(length) for length in LENGTHS]
    assert features.shape == (len(LENGTHS), max(counts), representation.dim)
    for row, length, count in zip(range(len(LENGTHS)), LENGTHS, counts, strict=True):
        alone, alone_lens = representation(wavs[row : row + 1, :length])
        assert alone_lens.tolist() == [1.0]
        torch.testing.assert_close(features[row, :count], alone[0], atol=1e-4, rtol=0)
        assert not features[row, count:].any()
    assert features[0].std() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_rate_is_what_a_second_gives(kind):
    representation = KINDS[kind]()
    seconds = 2
    wavs = torch.randn(1, seconds * representation.sample_rate)
    frames = representation(wavs)[0].shape[1]
    assert frames == pytest.approx(seconds * representation.frame_rate, abs=1)
    assert frames == representation.num_frames(wavs.shape[1])


@pytest.mark.parametrize("kind", ["ssl", "ssl-group"])
def test_states_are_weighed_from_their_mean_on(kind):
    representation = KINDS[kind]()
    wavs, lens = noisy_batch()
    states, _ = representation.states(wavs, lens)
    assert states.shape[1] == representation.num_states == 3
    torch.testing.assert_close(representation(wavs, lens)[0], states.mean(1))
    with torch.no_grad():
        representation.mix.logits.copy_(torch.tensor([0.0, 50.0, 0.0]))
    torch.testing.assert_close(representation(wavs, lens)[0], states[:, 1])
    with pytest.raises(ValueError, match="2 states, but this one has 3"):
        representation.combine(states[:, :2])


@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_model_has_no_gradient_and_stays_in_eval_mode(kind):
    representation = KINDS[kind]().train()
    assert not any(module.training for module in representation.model.modules())
    representation.set_update(10**9)
    wavs, lens = noisy_batch()
    first, again = (representation(wavs, lens)[0] for _ in range(2))
    assert first.equal(again), "it draws nothing"
    assert not any(p.requires_grad for p in representation.model.parameters())
    trained = [p for group in representation.parameter_groups(0.1) for p in group["params"]]
    assert len(trained) == (representation.num_states > 1)
    assert first.requires_grad == (representation.num_states > 1)


@pytest.mark.parametrize(
    ("make", "kept"),
    [
        (
            lambda **how: LatentRepresentation(tiny_wavcube(), **how),
            ("decoder.", "semantic_decoder.", "feature_extractor"),
        ),
        (lambda **how: LatentRepresentation(tiny_acoustic_codec(), **how), ("decoder.",)),
        (lambda **how: SSLRepresentation(tiny_ssl_encoder(), **how), ("feature_extractor",)),
    ],
    ids=["wavcube", "acoustic", "ssl"],
)
def test_fine_tuning_begins_at_its_update_with_its_own_rate(make, kept):
    representation = make(unfreeze_at=3, lr=0.5).train()
    before = {name: p.clone() for name, p in representation.model.named_parameters()}
    groups = representation.parameter_groups(0.01)
    assert [group["lr"] for group in groups] == [0.01, 0.5][-len(groups) :]
    optimizer = torch.optim.SGD(groups)
    for update in range(4):
        representation.set_update(update)
        features, _ = representation(torch.randn(2, 1600))
        if features.requires_grad:
            features.square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        changed = {
            name for name, p in representation.model.named_parameters() if not p.equal(before[name])
        }
        assert bool(changed) == (update == 3)
    assert not [name for name in changed if any(part in name for part in kept)]
    tuned = {id(p) for p in representation.fine_tuned()}
    names = {name for name, p in representation.model.named_parameters() if id(p) in tuned}
    assert changed <= names
    assert not [name for name in names if any(name.startswith(p) or f".{p}" in name for p in kept)]
    assert any("weight" in name for name in changed)
    representation.set_update(0)
    assert not any(p.requires_grad for p in representation.model.parameters())


@pytest.mark.parametrize("how", [{"unfreeze_at": 1}, {"lr": 0.1}, {"unfreeze_at": -1, "lr": 0.1}])
def test_half_a_setting_of_fine_tuning_is_refused(how):
    with pytest.raises(ValueError, match="unfreeze_at"):
        SSLRepresentation(tiny_ssl_encoder(), **how)


def test_autocast_changes_nothing_of_a_frozen_model():
    representation = KINDS["wavcube"]()
    wavs, lens = noisy_batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside, _ = representation(wavs, lens)
    assert inside.equal(representation(wavs, lens)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_the_hash_names_model_and_weights(kind):
    representation = KINDS[kind]()
    name = representation.model_hash
    assert name == representation.model_hash
    parameters = [p for p in representation.model.parameters() if p.numel() > 1]
    if not parameters:
        assert name != MelRepresentation(num_mel_bins=9).model_hash
        return
    with torch.no_grad():
        parameters[0].add_(1e-3)
    assert name != representation.model_hash


@pytest.mark.parametrize("shape", [(3,), (0, 5), (2, 0), (1, 2, 3)])
def test_what_is_no_batch_is_refused(shape):
    with pytest.raises(ValueError, match="batch, time"):
        MelRepresentation()(torch.zeros(shape))


@pytest.mark.parametrize("config", [ENCODEC, MIMI], ids=["encodec", "mimi"])
def test_a_codec_s_folder_gives_what_transformers_encoder_gives(config, tmp_path):
    model = save_codec(tmp_path / "codec", config)
    representation = CodecRepresentation.from_pretrained(tmp_path / "codec")
    wavs = torch.randn(2, 5000)
    with torch.no_grad():
        encoded = model.encoder(wavs[:, None])
    latents = encoded if torch.is_tensor(encoded) else encoded.latents
    torch.testing.assert_close(representation(wavs)[0], latents.transpose(1, 2))
    assert representation.model_hash != CodecRepresentation(config).model_hash


def test_a_codec_s_folder_is_read_strictly(tmp_path):
    save_codec(tmp_path / "codec", ENCODEC)
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        CodecRepresentation.from_pretrained(tmp_path)
    path = tmp_path / "codec" / "model.safetensors"
    weights = load_file(path)
    name = next(key for key in weights if key.startswith("encoder.") and key.endswith("bias"))
    save_file({k: v for k, v in weights.items() if k != name}, path, {"format": "pt"})
    with pytest.raises(ValueError, match="missing"):
        CodecRepresentation.from_pretrained(tmp_path / "codec")
    with pytest.raises(ValueError, match="mono"):
        CodecRepresentation({**ENCODEC, "audio_channels": 2})
    with pytest.raises(ValueError, match="dac"):
        CodecRepresentation({"model_type": "dac"})


def test_every_front_end_s_yaml_is_included_by_a_head_s(repository, tmp_path):
    random_release(tmp_path / "release", training_state={})
    write_encoder(tiny_ssl_encoder(), tmp_path / "encoder")
    save_codec(tmp_path / "codec", ENCODEC)
    sources = {"wavcube": "release", "ssl": "encoder", "mel": None, "encodec": "codec"}
    folder = repository / "hparams" / "representation"
    assert {path.stem for path in folder.glob("*.yaml")} == sources.keys()
    for name, source in sources.items():
        lines = [f"representation: !include:{folder / name}.yaml"]
        if source is not None:
            lines.append(f"    source: {tmp_path / source}")
        if name in ("wavcube", "ssl"):
            lines += ["    unfreeze_at: 5", "    lr: 0.001"]
        lines.append("output: !new:torch.nn.Linear")
        lines += ["    in_features: !ref <representation[dim]>", "    out_features: 3"]
        text = "\n".join(lines) + "\n"
        hparams = load_hyperpyyaml(text)
        front_end = hparams["representation"]["module"]
        wavs = torch.randn(1, hparams["representation"]["sample_rate"] // 10)
        assert hparams["output"](front_end(wavs)[0]).shape[2] == 3
        assert front_end.is_frozen == (name in ("mel", "encodec"))
