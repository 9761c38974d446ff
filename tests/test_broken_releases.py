"""A release that somebody edited is refused with the file and the argument, in one line."""

import inspect
import json

import pytest
from releases import random_release

from wavcube import WavCube
from wavcube.cli import main
from wavcube.export import build, load_for_training, load_release
from wavcube.lobes.layer_mix import LayerMix
from wavcube.release.arguments import UNBUILT, check_arguments
from wavcube.release.build import ALLOWED_CLASSES, allowed_class
from wavcube.release.yaml_arguments import check_yaml_arguments

CPU = {"device": "cpu"}

# what is replaced in hyperparams.yaml; where it is in config.json, by what; what is said
BROKEN = {
    "text for a number": ("latent_dim: 8", "latent_dim: abc", "latent_dim must be int, got 'abc'"),
    "a misspelt name": ("latent_dim: 8", "latent_dimm: 8", "unexpected keyword.*'latent_dimm'"),
    "nothing": ("latent_dim: 8", "latent_dim:", "latent_dim must be int, got None"),
    "a flag for a number": ("n_fft: 640", "n_fft: true", "n_fft must be int, got True"),
    "a number for a flag": ("with_linear: false", "with_linear: 0", "with_linear must be bool"),
    "a missing argument": ("            dim: 16\n            n_fft", "            n_fft", "'dim'"),
    "one or nothing": ("window: null", "window: []", "window must be int or null"),
    "the encoder's own": ("hidden_size: 16", "hidden_size: [1]", "hidden_size"),
    "a number out of range": ("kernel_size: 7", "kernel_size: -7", "cannot be built"),
    "by zero": ("num_heads: 2\n        ffn", "num_heads: 0\n        ffn", "cannot be built"),
    "a plain value for a lobe": ("encoder: !new:wavcube", "encoder: x\n    rest: !new:wavcube", ""),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_yaml(tmp_path, capsys, name):
    old, new, message = BROKEN[name]
    folder = random_release(tmp_path / "model")
    path = folder / "hyperparams.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=rf"hyperparams\.yaml.*{message}"):
        WavCube.from_hparams(folder, run_opts=CPU)
    assert main(["info", str(folder)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "hyperparams.yaml" in said


@pytest.mark.parametrize("load", [load_release, load_for_training])
@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (("bottleneck", "latent_dim"), "abc", "latent_dim must be int, got 'abc'"),
        (("bottleneck", "latent_dimm"), 8, "unexpected keyword.*'latent_dimm'"),
        (("encoder", "config", "hidden_size"), [1], "hidden_size"),
        (("decoder", "backbone", "kernel_size"), -7, "ConvNeXtBackbone"),
        (("decoder", "backbone"), None, "backbone must be Module, got None"),
        (("decoder", "head", "class"), [1], r"class \[1\] is not one"),
        (("bottleneck",), 3, "bottleneck must be SemanticBottleneck, got 3"),
        (
            ("encoder",),
            {"class": "wavcube.lobes.layer_mix.LayerMix", "num_states": 3},
            "encoder must be SSLEncoder, got LayerMix",
        ),
    ],
)
def test_a_broken_config(tmp_path, load, where, value, message):
    folder = random_release(tmp_path / "model", training_state={})
    path = folder / "config.json"
    content = json.loads(path.read_text())
    part = content["model"]
    for key in where[:-1]:
        part = part[key]
    part[where[-1]] = value
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"config\.json: .*{message}"):
        load(folder)


@pytest.mark.parametrize(
    "text",
    [
        "modules: {wavcube: 3}",
        "modules: {}",
        "modules: 3",
        "pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer {paths: 3, load: 2}",
        "a: &a {b: *a}\nx: !new:wavcube.lobes.layer_mix.LayerMix {num_states: *a}",
        "x: !new:wavcube.lobes.layer_mix.LayerMix {num_states: &s [*s]}",
        "x: !new:wavcube.lobes.layer_mix.LayerMix 3",
    ],
)
def test_a_yaml_of_other_content(tmp_path, text):
    folder = random_release(tmp_path / "model")
    path = folder / "hyperparams.yaml"
    path.write_text(path.read_text() + text + "\n")
    if text.startswith(("modules", "pretrainer")):
        path.write_text(text + "\n")
    with pytest.raises(ValueError, match=r"hyperparams\.yaml"):
        WavCube.from_hparams(folder, run_opts=CPU)


def test_arguments_by_position_are_checked_too():
    check_yaml_arguments("x: !new:wavcube.lobes.layer_mix.LayerMix [3]")
    with pytest.raises(ValueError, match="line 2: LayerMix: argument num_states must be int"):
        check_yaml_arguments("a: 1\nx: !new:wavcube.lobes.layer_mix.LayerMix [[3]]")


def test_every_class_says_what_its_arguments_are():
    for name in ALLOWED_CLASSES:
        lobe = allowed_class(name)
        given = {name: object() for name in inspect.signature(lobe).parameters}
        for name in given:
            others = {key: UNBUILT for key in given if key != name}
            with pytest.raises(ValueError, match=f"^{lobe.__name__}: argument {name} must be "):
                check_arguments(lobe, (), {**others, name: given[name]})


def test_a_configuration_of_no_file_is_named_so():
    config = {"class": "wavcube.lobes.layer_mix.LayerMix", "num_states": 3}
    assert isinstance(build(config), LayerMix)
    with pytest.raises(ValueError, match=r"^the configuration: LayerMix"):
        build({**config, "num_states": 3.0})


def test_two_files_that_describe_two_models_are_refused(tmp_path):
    folder = random_release(tmp_path / "model")
    config, yaml = folder / "config.json", folder / "hyperparams.yaml"
    good = config.read_text()
    # the weights fit both
    config.write_text(good.replace('"window": null', '"window": 3'))
    message = r"config\.json and hyperparams\.yaml describe two models: bottleneck\.window is 3 and"
    with pytest.raises(ValueError, match=message):
        WavCube.from_hparams(folder, run_opts=CPU)
    yaml.write_text(yaml.read_text().replace("window: null", "window: 3"))
    assert WavCube.from_hparams(folder, run_opts=CPU).mods.wavcube.config() == (
        load_release(folder).config()
    )
    config.write_text(good)
    with pytest.raises(ValueError, match=r"bottleneck\.window is None and 3"):
        WavCube.from_hparams(folder, run_opts=CPU)
    # whoever overrides the YAML wants another model
    changes = {"wavcube": {"bottleneck": {"window": 5}}}
    model = WavCube.from_hparams(folder, run_opts=CPU, overrides=changes)
    assert model.mods.wavcube.config()["bottleneck"]["window"] == 5


def test_an_older_config_says_less(tmp_path):
    folder = random_release(tmp_path / "model")
    whole = load_release(folder).config()
    content = json.loads((folder / "config.json").read_text())
    del content["model"]["bottleneck"]["window"], content["model"]["acoustic_skip"]
    (folder / "config.json").write_text(json.dumps(content))
    model = WavCube.from_hparams(folder, run_opts=CPU).mods.wavcube
    # what it leaves out are the constructors' own defaults
    assert model.config() == load_release(folder).config() == whole
    assert {whole["bottleneck"]["window"], whole["acoustic_skip"]} == {None}
