"""A YAML that names its base, and options that had other names."""

import pytest
import yaml
from hyperpyyaml import load_hyperpyyaml

from wavcube.experiment.command_line import RENAMED, open_yaml, parse_arguments, read_yaml


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "sizes.yaml").write_text("dim: 3\n")
    (tmp_path / "below" / "a.yaml").write_text(
        "# Of all\nseed: 1 # drawn\nsizes: !include:sizes.yaml\nmodel:\n    dim: 2\n    # deep\n"
        "    wide: [1,\n        2]\n\n# Updates\nupdates: 5\nlr: 0.1\n"
    )
    return tmp_path


def load(path, overrides=None):
    return load_hyperpyyaml(open_yaml(path), overrides)


def test_entries_replace_those_of_the_base_as_a_whole(folder):
    (folder / "b.yaml").write_text("# Mine\nbase: below/a.yaml\nmodel:\n    other: 1\nnew: 7\n")
    text = read_yaml(folder / "b.yaml")
    assert text.startswith("# Mine\nseed: 1 # drawn\n")
    assert "# Updates" in text
    assert "base" not in yaml.safe_load(text.replace("!include:", ""))
    loaded = load(folder / "b.yaml")
    assert (loaded["seed"], loaded["model"], loaded["new"]) == (1, {"other": 1}, 7)
    assert loaded["sizes"] == {"dim": 3}, "what a base includes lies beside the base"
    assert load(folder / "b.yaml", "updates: 9")["updates"] == 9


def test_entries_of_the_base_can_be_left_out_and_bases_have_bases(folder):
    (folder / "b.yaml").write_text("base: below/a.yaml\nwithout: [model, lr]\n")
    (folder / "c.yaml").write_text("base: b.yaml\nseed: 3\n")
    loaded = load(folder / "c.yaml")
    assert loaded["seed"] == 3
    assert not {"model", "lr", "base", "without"} & loaded.keys()


def test_a_missing_base_is_named(folder):
    (folder / "b.yaml").write_text("base: none.yaml\n")
    with pytest.raises(FileNotFoundError, match=r"names the base none\.yaml, and there is no file"):
        read_yaml(folder / "b.yaml")


@pytest.mark.parametrize("old", RENAMED)
def test_an_option_of_an_earlier_version_names_the_new_one(folder, old):
    path = folder / "b.yaml"
    path.write_text("base: below/a.yaml\n")
    message = rf"{old} was renamed: write {RENAMED[old]}"
    with pytest.raises(ValueError, match=message):
        parse_arguments([str(path), "--device=cpu", f"--{old}=1"], "")
    with pytest.raises(ValueError, match=message):  # inside of another option as well
        parse_arguments([str(path), "--device=cpu", f"--model={{{old}: 1}}"], "")
    path.write_text(f"base: below/a.yaml\nmodel:\n    {old}: 1\n")
    with pytest.raises(ValueError, match=message):
        parse_arguments([str(path), "--device=cpu"], "")


def test_every_recipe_resolves(repository):
    for path in (repository / "hparams").glob("*.yaml"):
        keys = [key.value for key, _ in yaml.compose(read_yaml(path)).value]
        assert "base" not in keys
        assert len(keys) == len(set(keys)) > 5
