"""Releases name classes by short names; those of earlier versions load and have their hashes."""

import ast
import copy
import json

import pytest
import torch
from hyperpyyaml import load_hyperpyyaml
from recognizers import random_recognizer
from releases import CARD, random_release, random_wavcube

from wavcube import WavCube
from wavcube.lobes.configurable import Configurable, describe
from wavcube.lobes.ssl.encoder import LayerMix
from wavcube.release.config_file import MODULES, build, registered_class, rename_classes
from wavcube.release.folder import load_release, release_config, release_hash, write_release
from wavcube.release.old_names import OLD_NAMES
from wavcube.release.source import packaged_release

CPU = {"device": "cpu"}
# printed by the version that named modules
HASHES = {
    "asr_tiny": "8359f45459edf65ed5a24892036690492fbed2931cf1964e3832975418642925",
    "enhancement_tiny": "4888b5b7ddd675fd3bc554e476bbc2cc8e7052507f00ec0f06baf747436a5832",
    "separation_tiny": "2efc285fbeaca4643d394e538cefa7168dd183ee40242a8c81c9b97aa68308a9",
    "voice_conversion_tiny": "e47eb40cc308a93131b67ff580243eb23c1cc4a488ecce05746ee7669e9e0acf",
    "wavcube_tiny": "5a3860fc3b2683eb1132466d3667bbf1bc5b9226fc26356980a068dde050bb29",
}


@pytest.mark.parametrize("name", HASHES)
def test_models_keep_their_hashes(name):
    assert release_hash(load_release(packaged_release(name))) == HASHES[name]


def classes_in(config):
    for key, value in config.items():
        if key == "class":
            yield value
        elif isinstance(value, dict):
            yield from classes_in(value)


def test_a_release_names_no_module(tmp_path):
    said = json.loads((random_release(tmp_path / "model") / "config.json").read_text())
    names = list(classes_in(said["model"]))
    assert "WavCube" in names
    assert not [name for name in names if "." in name]


def test_a_release_of_format_1_loads(tmp_path):
    folder = random_release(tmp_path / "model")
    new = load_release(folder)
    content = json.loads((folder / "config.json").read_text())
    content["model"] = rename_classes(content["model"], OLD_NAMES)
    content["format_version"] = 1
    assert content["model"]["encoder"]["class"] == "wavcube.lobes.ssl_encoder.SSLEncoder"
    (folder / "config.json").write_text(json.dumps(content))
    (folder / "hyperparams.yaml").unlink()  # its modules are gone
    for old in (load_release(folder), WavCube.from_hparams(folder, run_opts=CPU).mods.wavcube):
        assert release_config(old) == release_config(new)
        assert release_hash(old) == release_hash(new)


def test_every_class_of_the_package_is_registered(repository):
    """Whatever derives from Configurable in the package, by reading its source."""
    found = []
    for path in (repository / "wavcube").rglob("*.py"):
        module = ".".join(path.relative_to(repository).with_suffix("").parts)
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                found.append((module, node.name, {getattr(base, "id", "") for base in node.bases}))
    bases, known = {"Configurable"}, set()
    while more := {item[:2] for item in found if item[2] & bases} - known:
        known |= more
        bases |= {name for _, name in more}
    above = {base for *place, over in found if tuple(place) in known for base in over}
    training = {"MultiPeriodDiscriminator", "MultiResolutionDiscriminator", "PitchTracker"}
    for _, name in known:  # heads of tasks are found by their folders
        if name not in above | training:
            assert registered_class(name).__name__ == name
    known = {item for item in known if not item[0].startswith("wavcube.tasks.")}
    listed = {(module, name) for module, names in MODULES.items() for name in names.split()}
    assert {item for item in known if item[1] not in above | training} == listed - {
        item for item in listed if item[1] in above
    }
    assert listed <= known


def test_speechbrain_makes_the_same_models_of_the_yaml(tmp_path):
    for name, model in {"latent": random_wavcube(), "task": random_recognizer(7)}.items():
        folder = write_release(model, tmp_path / name, card=CARD)
        with (folder / "hyperparams.yaml").open() as file:
            hparams = load_hyperpyyaml(file, {"pretrained_path": str(folder)})
        (theirs,) = hparams["modules"].values()
        hparams["pretrainer"].collect_files()
        hparams["pretrainer"].load_collected()
        ours = load_release(folder)
        assert release_config(theirs) == release_config(ours)
        assert release_hash(theirs) == release_hash(ours)


def test_code_in_a_yaml_never_runs(tmp_path):
    folder, mark = random_release(tmp_path / "model"), tmp_path / "mark"
    attack = f"x: !apply:os.mkdir [{mark}]\n"
    (folder / "hyperparams.yaml").write_text(attack + (folder / "hyperparams.yaml").read_text())
    (folder / "custom.py").write_text(f"import os\nos.mkdir({str(mark)!r})\n")
    assert WavCube.from_hparams(folder, run_opts=CPU).latent_dim == 8
    assert not mark.exists()
    load_hyperpyyaml(attack)  # the attack is a real one
    assert mark.exists()


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "subprocess.Popen",
        "Linear",
        "torch.nn.Linear",
        "wavcube.lobes.heads.asr.SpecAugment",
        "wavcube.lobes.wavcube.WavCube.from_hparams",
        "tests.custom.LayerMix",
        "",
        None,
        ["LayerMix"],
    ],
)
def test_other_names_are_refused(tmp_path, name):
    folder, mark = random_release(tmp_path / "model"), tmp_path / "mark"
    content = json.loads((folder / "config.json").read_text())
    content["model"]["encoder"] = {"class": name, "args": ["mkdir", str(mark)]}
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"config\.json: class .* is not one that a release"):
        WavCube.from_hparams(folder, run_opts=CPU)
    assert not mark.exists()


def test_a_class_of_the_users_own():
    class OwnMix(Configurable):
        def __init__(self, mix: LayerMix, gain: float = 1.0) -> None:
            super().__init__()
            self.mix = mix

    model = OwnMix(LayerMix(3))
    config = {"class": "OwnMix", "mix": {"class": "LayerMix", "num_states": 3}, "gain": 1.0}
    assert describe(model) == config
    assert describe(build(config)) == config
    model.mix = LayerMix(2)  # what was replaced is described as it is now
    assert describe(model)["mix"] == {"class": "LayerMix", "num_states": 2}


def test_the_outermost_constructor_counts_and_copies_keep_it():
    class Base(Configurable):
        def __init__(self, size: int) -> None:
            super().__init__()
            self.size = size

    class Double(Base):
        training_arguments = frozenset({"lr"})

        def __init__(self, half: int, lr: float = 0.1) -> None:
            super().__init__(2 * half)

    assert Double(3, lr=0.5).config() == {"half": 3}
    assert copy.deepcopy(Double(half=3)).config() == {"half": 3}


def test_a_module_that_cannot_be_described_is_named():
    class Wrong(Configurable):
        def __init__(self, mix: torch.nn.Module) -> None:
            super().__init__()

    wrong = Wrong(torch.nn.Linear(1, 1))
    with pytest.raises(TypeError, match="mix is a Linear, which a release cannot describe"):
        wrong.config()
