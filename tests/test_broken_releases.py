"""A release that somebody edited is refused with the file and the argument, in one line."""

import inspect
import json

import pytest
from releases import random_release

from wavcube import WavCube
from wavcube.cli.main import main
from wavcube.lobes.ssl.encoder import LayerMix
from wavcube.release.config_file import check_arguments, registered_class
from wavcube.release.folder import build, load_for_training, load_release
from wavcube.release.old_names import OLD_NAMES

CPU = {"device": "cpu"}
MISSING = object()


def from_hparams(folder):
    return WavCube.from_hparams(folder, run_opts=CPU)


@pytest.mark.parametrize("load", [load_release, load_for_training, from_hparams])
@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (("bottleneck", "latent_dim"), "abc", "latent_dim must be int, got 'abc'"),
        (("bottleneck", "latent_dimm"), 8, "unexpected keyword.*'latent_dimm'"),
        (("encoder", "config", "hidden_size"), [1], "hidden_size"),
        (("decoder", "head", "n_fft"), True, "n_fft must be int, got True"),
        (("bottleneck", "with_linear"), 0, "with_linear must be bool, got 0"),
        (("bottleneck", "window"), [], r"window must be int or null, got \[\]"),
        (("bottleneck", "num_heads"), 0, "cannot be built"),
        (("decoder", "head", "dim"), MISSING, "missing a required argument: 'dim'"),
        (("decoder", "head", "class"), MISSING, "head must be Module, got {"),
        (("encoder",), "x", "encoder must be SSLEncoder, got 'x'"),
        (("decoder", "backbone", "kernel_size"), -7, "ConvNeXtBackbone"),
        (("decoder", "backbone"), None, "backbone must be Module, got None"),
        (("decoder", "head", "class"), [1], r"class \[1\] is not one"),
        (("bottleneck",), 3, "bottleneck must be SemanticBottleneck, got 3"),
        (
            ("encoder",),
            {"class": "LayerMix", "num_states": 3},
            "encoder must be SSLEncoder, got LayerMix",
        ),
    ],
)
def test_a_broken_config(tmp_path, capsys, load, where, value, message):
    folder = random_release(tmp_path / "model", training_state={})
    path = folder / "config.json"
    content = json.loads(path.read_text())
    part = content["model"]
    for key in where[:-1]:
        part = part[key]
    if value is MISSING:
        del part[where[-1]]
    else:
        part[where[-1]] = value
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"config\.json: .*{message}"):
        load(folder)
    assert main(["info", str(folder)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "config.json" in said


NEWER = '{"format": "wavcube-release", "format_version": 3}'


@pytest.mark.parametrize("text", ["", "[1]", "{", NEWER])
def test_a_config_of_other_content(tmp_path, text):
    folder = random_release(tmp_path / "model")
    (folder / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json"):
        from_hparams(folder)


def test_every_class_says_what_its_arguments_are():
    for name in OLD_NAMES:
        lobe = registered_class(name)
        # of a type that no signature names, so that the first argument is refused
        given = {argument: object() for argument in inspect.signature(lobe).parameters}
        message = f"^{lobe.__name__}: argument {next(iter(given))} must"
        with pytest.raises(ValueError, match=message):
            check_arguments(lobe, given)


def test_a_configuration_of_no_file_is_named_so():
    config = {"class": "LayerMix", "num_states": 3}
    assert isinstance(build(config), LayerMix)
    with pytest.raises(ValueError, match=r"^the configuration: LayerMix"):
        build({**config, "num_states": 3.0})


def test_overrides_change_the_description(tmp_path):
    folder = random_release(tmp_path / "model")
    changes = {"bottleneck": {"window": 5}}
    model = WavCube.from_hparams(folder, run_opts=CPU, overrides=changes).mods.wavcube
    whole = load_release(folder).config()
    assert model.config() == {**whole, "bottleneck": {**whole["bottleneck"], "window": 5}}


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
