"""A release's YAML cannot run code, whatever way its author finds into HyperPyYAML."""

import contextlib
import io

import pytest
import torch
from hyperpyyaml import load_hyperpyyaml
from releases import random_release

from wavcube import WavCube
from wavcube.release.build import ALLOWED_CLASSES
from wavcube.release.hyperparams_check import UnsafeYAMLError, check_hyperparams

# each makes the file MARK when HyperPyYAML loads it
ATTACKS = {
    "apply": "x: !apply:os.mkdir [MARK]",
    "applyref": "x: !applyref:os.mkdir [MARK]",
    "new": "x: !new:subprocess.Popen [[mkdir, MARK]]",
    "nested": "wavcube: {encoder: {config: [1, !apply:os.mkdir [MARK]]}}",
    "python tag": "x: !!python/object/apply:os.mkdir [MARK]",
    "verbatim tag": "x: !<tag:yaml.org,2002:python/object/apply:os.mkdir> [MARK]",
    "tag directive": "%TAG !m! tag:yaml.org,2002:python/object/apply:\n---\nx: !m!os.mkdir [MARK]",
    "tuple": "x: (!!python/object/apply:os.mkdir [MARK])",
    "explicit tuple": "x: !tuple '(!!python/object/apply:os.mkdir [MARK])'",
    "copied": "a: !apply:os.mkdir [MARK]\nx: !copy <a>",
    "include": "x: !include:INCLUDED",
    "anchor": "a: &a !apply:os.mkdir [MARK]\nx: *a",
}


@pytest.fixture
def mark(tmp_path):
    return tmp_path / "mark"


def attack(name, tmp_path, mark):
    (tmp_path / "included.yaml").write_text(f"x: !apply:os.mkdir [{mark}]")
    text = ATTACKS[name].replace("INCLUDED", str(tmp_path / "included.yaml"))
    return text.replace("MARK", str(mark)) + "\n"


def wait_for(path):
    """Popen does not wait for its child."""
    import time

    for _ in range(100):
        if path.exists():
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("name", ATTACKS)
def test_code_in_a_yaml_is_refused_before_it_runs(name, tmp_path, mark):
    folder = random_release(tmp_path / "model")
    yaml = folder / "hyperparams.yaml"
    text = attack(name, tmp_path, mark)
    yaml.write_text(text if "%" in text else text + yaml.read_text())
    with pytest.raises(UnsafeYAMLError, match="not allowed"):
        WavCube.from_hparams(folder)
    assert not mark.exists()
    # what is refused is a real attack (some run twice, and the second mkdir fails)
    with contextlib.suppress(FileExistsError):
        load_hyperpyyaml(io.StringIO(text))
    assert wait_for(mark)


@pytest.mark.parametrize(
    "text",
    [
        "x: !name:os.system",
        "x: !module:os",
        "x: !new:collections.Counter",
        "x: !name:wavcube.lobes.ssl_encoder.SSLEncoder.from_pretrained",
        "x: !new:wavcube.lobes.wavcube.WavCubeOutput",
        "x: !new:torch.nn.Linear [1, 1]",
        "? !apply:os.mkdir [a]\n: 1",
        "x: '(!!python/object/apply:os.mkdir [a])'",
        "a: '!!python/object/apply:os.mkdir [a]'\nx: !ref (<a>)",
        "a: {b: 1}\nx: !ref <a.b>",
        "a: 9\nx: !ref <a> ** <a>",
        "a: <b.c>\nx: !ref <a>",
        "x: !PLACEHOLDER",
        "x: !unknown 1",
        "x: !!timestamp 2001-01-01",
        "a: &a {b: 1}\nx: {<<: *a}",
    ],
)
def test_names_outside_the_list_are_refused(text):
    with pytest.raises(UnsafeYAMLError, match="not allowed"):
        check_hyperparams(text, ALLOWED_CLASSES)


@pytest.mark.parametrize("text", ["", "[1]", "a: [", "a: 1\na: 2\n---\n- 1"])
def test_what_is_no_mapping_is_an_error(text):
    with pytest.raises(ValueError, match="the YAML"):
        check_hyperparams(text, ALLOWED_CLASSES)


def test_plain_data_passes():
    check_hyperparams("a: 1\nb: [1.5e-3, x, null, true, 'a (b)', &c {d: 2}, *c]\n", ())


def test_trusted_yaml_runs(tmp_path, mark):
    folder = random_release(tmp_path / "model")
    yaml = folder / "hyperparams.yaml"
    yaml.write_text(attack("apply", tmp_path, mark) + yaml.read_text())
    model = WavCube.from_hparams(folder, trust_yaml=True, run_opts={"device": "cpu"})
    assert mark.exists()
    assert model.encode_batch(torch.randn(1, 640))[0].shape == (1, 2, 8)


def test_custom_code_in_the_folder_is_not_imported(tmp_path, mark):
    folder = random_release(tmp_path / "model")
    (folder / "custom.py").write_text(f"import os\nos.mkdir({str(mark)!r})\n")
    WavCube.from_hparams(folder)
    assert not mark.exists()


@pytest.mark.parametrize(
    "path", ["../outside.safetensors", "/etc/passwd", "owner/name/x.safetensors"]
)
def test_weights_come_from_the_release_itself(tmp_path, path):
    folder = random_release(tmp_path / "model")
    yaml = folder / "hyperparams.yaml"
    yaml.write_text(yaml.read_text().replace("wavcube: model.safetensors", f"wavcube: {path}"))
    with pytest.raises(UnsafeYAMLError, match="not a file of"):
        WavCube.from_hparams(folder)


def test_overrides_cannot_smuggle_code_in(tmp_path, mark):
    folder = random_release(tmp_path / "model")
    text = f"(!!python/object/apply:os.mkdir [{mark}])"
    with pytest.raises(UnsafeYAMLError, match="parentheses"):
        WavCube.from_hparams(folder, overrides={"pretrainer": {"paths": {"wavcube": text}}})
    assert not mark.exists()
