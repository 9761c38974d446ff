"""A release is complete or absent, and gives back exactly the model that it was made of."""

import dataclasses
import json
import os
import signal

import pytest
import torch
from releases import CARD, full_disk, random_release, random_wavcube, tree
from safetensors.torch import load_file, save_file

from wavcube import WavCube
from wavcube.release import folder as export
from wavcube.release.card import ModelCard, Source
from wavcube.release.folder import (
    build,
    export_run,
    inference_state,
    load_for_training,
    load_release,
    read_card,
    read_config,
    release_config,
    release_hash,
    write_release,
)
from wavcube.release.weights import write_weights
from wavcube.testing import tone


def same_weights(a, b):
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"backbone": "transformer", "variational": True},
        {"encoder": "filterbank_wavlm", "with_layer_mix": True},
        {"encoder": "hubert"},
    ],
)
def test_a_release_gives_back_the_same_bits(tmp_path, parts):
    model = random_wavcube(**parts)
    folder = write_release(model, tmp_path / "model", card=CARD)
    loaded = load_release(folder)
    from_yaml = WavCube.from_hparams(folder, run_opts={"device": "cpu"}).mods.wavcube
    assert same_weights(loaded, from_yaml)
    assert not loaded.training
    assert loaded.config() == from_yaml.config()
    wavs = torch.randn(2, 3000)
    with torch.no_grad():
        latents, lens = model.encode(wavs)
        audio = model.decode(latents, lens, length=3000)
        for other in (loaded, from_yaml):
            torch.testing.assert_close(other.encode(wavs)[0], latents)
            torch.testing.assert_close(other.decode(latents, lens, length=3000), audio)


def test_a_half_size_release_loads_as_float32(tmp_path):
    model = random_wavcube()
    half = write_release(model, tmp_path / "half", card=CARD, dtype=torch.float16)
    loaded = load_release(half)
    stored = load_file(half / "model.safetensors")
    assert {v.dtype for v in stored.values() if v.is_floating_point()} == {torch.float16}
    for name, value in loaded.state_dict().items():
        assert value.dtype == model.state_dict()[name].dtype
        assert torch.equal(value, stored[name].to(value.dtype))


def test_inference_and_training_weights_are_apart(tmp_path):
    model = random_wavcube()
    state = {"discriminators.0.weight": torch.ones(2)}
    folder = write_release(model, tmp_path / "model", card=CARD, training_state=state)
    inference = load_file(folder / "model.safetensors")
    assert not any(name.startswith("bottleneck.semantic_decoder") for name in inference)
    again, discriminators = load_for_training(folder)
    assert same_weights(again, model)
    assert list(discriminators) == ["discriminators.0.weight"]
    # never read at inference
    (folder / "training.safetensors").write_bytes(b"broken")
    load_release(folder)
    WavCube.from_hparams(folder, run_opts={"device": "cpu"})


def test_a_release_without_training_state_cannot_be_trained_on(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"training\.safetensors"):
        load_for_training(random_release(tmp_path / "model"))


def test_training_state_of_another_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"optimizer\.x"):
        random_release(tmp_path / "model", training_state={"optimizer.x": torch.ones(1)})
    assert not list(tmp_path.iterdir())


def test_the_hash_follows_weights_and_configuration(tmp_path):
    model = random_wavcube()
    folder = write_release(model, tmp_path / "model", card=CARD)
    digest = release_hash(model)
    assert WavCube.from_hparams(folder, run_opts={"device": "cpu"}).model_hash == digest
    assert digest in (folder / "README.md").read_text()
    assert release_hash(random_wavcube(seed=1)) != digest
    official = build({**release_config(model), "official_framing": True})
    official.load_state_dict(inference_state(model))
    assert release_hash(official) != digest
    half = write_release(random_wavcube(), tmp_path / "half", card=CARD, dtype=torch.float16)
    assert release_hash(load_release(half)) in (half / "README.md").read_text()


def counted(model):
    """Give a model weights that every machine computes alike."""
    with torch.no_grad():
        for name, value in sorted(model.state_dict().items()):
            if value.is_floating_point():
                ramp = torch.arange(value.numel()) + len(name)
                value.copy_((ramp % 17 - 8).reshape(value.shape) / 16)
    return model


def test_a_model_keeps_its_hash_from_version_to_version():
    # latents that users have written name it: a change here makes them unreadable
    digest = release_hash(counted(random_wavcube(encoder="filterbank_wavlm")))
    assert digest == "aab149197f92fed3656cde56fc984561f2971571407386d7c4dc22475189b522"


def test_a_part_that_a_model_does_not_have_is_not_hashed():
    model = counted(random_wavcube())
    digest, config = release_hash(model), model.config()
    assert None in config.values()
    for later in ({"a_new_part": None}, {"bottleneck": {**config["bottleneck"], "new": None}}):
        model.config = lambda later=later: {**config, **later}
        assert release_hash(model) == digest
    model.config = lambda: {**config, "a_new_part": 1}
    assert release_hash(model) != digest


def edited(folder, change):
    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path)


@pytest.mark.parametrize("load", [load_release, WavCube.from_hparams], ids=["export", "inference"])
def test_loading_is_strict(tmp_path, load):
    names = sorted(load_file(random_release(tmp_path / "model") / "model.safetensors"))
    first, second = names[0], names[1]
    changes = {
        f"missing {first}": lambda w: w.pop(first),
        "unexpected extra.weight": lambda w: w.update({"extra.weight": torch.ones(1)}),
        rf"{second} has size \[7, 3\], not \[": lambda w: w.update({second: torch.ones(7, 3)}),
        rf"{second} is torch.int64": lambda w: w.update({second: w[second].long()}),
    }
    for number, (message, change) in enumerate(changes.items()):
        folder = random_release(tmp_path / f"model{number}")
        edited(folder, change)
        with pytest.raises(ValueError, match=message):
            load(folder)


def test_a_configuration_names_only_our_classes(tmp_path):
    folder = random_release(tmp_path / "model")
    content = json.loads((folder / "config.json").read_text())
    content["model"]["encoder"]["class"] = "subprocess.Popen"
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"subprocess\.Popen"):
        load_release(folder)


def test_unknown_arguments_are_named():
    with pytest.raises(ValueError, match=r"LayerMix.*sizes"):
        build({"class": "LayerMix", "num_states": 3, "sizes": 3})


@pytest.mark.parametrize(
    "text", ["", "[1]", '{"format": "other"}', '{"format": "wavcube-release"}']
)
def test_another_config_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json"):
        read_config(tmp_path)


def test_a_release_says_again_what_its_makers_said(tmp_path):
    folder = random_release(tmp_path / "model")
    assert read_card(folder) == CARD
    path = folder / "config.json"
    content = json.loads(path.read_text())
    card = content.pop("card")
    path.write_text(json.dumps(content))
    assert read_card(folder) is None, "an older release"
    path.write_text(json.dumps({**content, "card": {**card, "data": [{"name": "speech"}]}}))
    with pytest.raises(ValueError, match=r"config\.json holds a broken card: .*license"):
        read_card(folder)


def test_weights_that_are_not_finite_are_not_released(tmp_path):
    model = random_wavcube()
    with torch.no_grad():
        next(model.decoder.parameters()).view(-1)[0] = float("nan")
    with pytest.raises(ValueError, match="decoder"):
        write_release(model, tmp_path / "model", card=CARD)
    assert not list(tmp_path.iterdir())


def test_weights_beyond_float16_are_not_released(tmp_path):
    model = random_wavcube()
    with torch.no_grad():
        next(model.decoder.parameters()).view(-1)[0] = 1e6
    with pytest.raises(ValueError, match="float32"):
        write_release(model, tmp_path / "model", card=CARD, dtype=torch.float16)
    assert not list(tmp_path.iterdir())


def test_nothing_is_replaced_unasked(tmp_path):
    folder = random_release(tmp_path / "model")
    before = tree(tmp_path)
    with pytest.raises(FileExistsError, match="overwrit"):
        random_release(folder, seed=1)
    assert tree(tmp_path) == before
    write_release(random_wavcube(1), folder, card=CARD, overwrite=True)
    assert same_weights(load_release(folder), load_release(random_release(tmp_path / "b", seed=1)))
    assert sorted(os.listdir(tmp_path)) == ["b", "model"]


def test_overwriting_spares_folders_of_other_kinds(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("years")
    with pytest.raises(FileExistsError, match=r"config\.json"):
        write_release(random_wavcube(), home, card=CARD, overwrite=True)
    assert (home / "thesis.txt").read_text() == "years"


def test_a_full_disk_leaves_nothing(tmp_path):
    with full_disk(), pytest.raises(OSError, match="cannot write"):
        random_release(tmp_path / "deep" / "model")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_spares_the_earlier_release(tmp_path):
    folder = random_release(tmp_path / "model")
    before = tree(tmp_path)
    with full_disk(), pytest.raises(OSError, match="cannot write"):
        write_release(random_wavcube(1), folder, card=CARD, overwrite=True)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("step", ["write_weights", "hyperparams_yaml", "render_card"])
def test_a_kill_never_leaves_a_broken_release(tmp_path, monkeypatch, step):
    model = random_wavcube()
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(export, step, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        write_release(model, tmp_path / "model", card=CARD)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert not (tmp_path / "model").exists()
    write_release(model, tmp_path / "model", card=CARD)


def test_a_card_must_say_everything():
    for entry in dataclasses.fields(ModelCard):
        if isinstance(getattr(CARD, entry.name), str):
            with pytest.raises(ValueError, match=entry.name):
                dataclasses.replace(CARD, **{entry.name: " "})
    with pytest.raises(ValueError, match="license"):
        dataclasses.replace(CARD, data=[Source("speech", "", "somewhere")])


def test_the_card_is_in_the_folder(tmp_path):
    card = dataclasses.replace(CARD, results={"stage 1": {"stoi": 0.5}, "stage 2": {"pesq": 3.0}})
    text = (write_release(random_wavcube(), tmp_path / "m", card=card) / "README.md").read_text()
    for word in ("a teacher", "MIT", "synthetic speech", "Commercial use: yes", "not computed"):
        assert word in text


def test_a_run_is_exported_bit_for_bit(tmp_path):
    random_release(tmp_path / "run" / "release")
    out = export_run(tmp_path / "run", tmp_path / "out")
    for path in (tmp_path / "run" / "release").iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes()
    with pytest.raises(FileExistsError):
        export_run(tmp_path / "run", tmp_path / "out")


def test_a_run_is_exported_in_half_precision_without_discriminators(tmp_path):
    state = {"discriminators.a": torch.ones(3)}
    random_release(tmp_path / "run" / "release", training_state=state)
    out = export_run(tmp_path / "run", tmp_path / "out", dtype=torch.float16)
    whole, half = (folder / "model.safetensors" for folder in (tmp_path / "run" / "release", out))
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    assert read_card(out) == read_card(tmp_path / "run" / "release")
    model, training = load_for_training(out)
    assert training == {}
    wavs = tone(0.3)[None]
    expected = load_release(tmp_path / "run" / "release").encode(wavs)[0]
    torch.testing.assert_close(model.eval().encode(wavs)[0], expected, atol=5e-3, rtol=0)


def test_a_folder_without_a_run_is_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="run"):
        export_run(tmp_path, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_others_may_read_a_release(tmp_path):
    path = tmp_path / "model.safetensors"
    umask = os.umask(0o022)
    try:
        write_weights(path, {"weight": torch.zeros(1)}, torch.float32)
    finally:
        os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o644
