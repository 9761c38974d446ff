"""Every YAML has a row in recipes.csv, and every row's command runs and leaves its files."""

import csv
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from processes import run_script

REPOSITORY = Path(__file__).parents[1]
# run as a user does, in an interpreter that has imported nothing
BARE = {"hparams/wavcube.yaml as it is"}
# what others include: front ends, which test_front_ends.py runs, what a model's card says, stages
PARTS = ("hparams/base/", "hparams/representation/", "hparams/card/", "hparams/stages/")


def rows():
    with open(REPOSITORY / "tests" / "recipes.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def title(row):
    """A row's YAML, and whether it runs in the precision that the YAML asks for."""
    return row["yaml"] + ("" if "--precision=" in row["arguments"] else " as it is")


def experiment(row):
    """The YAML that a row's script is given: a model block is included by another."""
    included = row["yaml"].startswith("hparams/model/")
    return REPOSITORY / ("hparams/wavcube.yaml" if included else row["yaml"])


def test_every_yaml_has_a_row():
    files = {
        path.relative_to(REPOSITORY).as_posix() for path in REPOSITORY.glob("hparams/**/*.yaml")
    }
    files = {name for name in files if not name.startswith(PARTS)}
    assert files == {row["yaml"] for row in rows()}
    titles = [title(row) for row in rows()]
    assert len(titles) == len(set(titles))


def test_the_default_precision_has_a_row():
    # fp32, which the others run in, is not what users get
    assert "hparams/wavcube.yaml as it is" in map(title, rows())
    hparams = (REPOSITORY / "hparams" / "wavcube.yaml").read_text(encoding="utf-8")
    assert "\nprecision: auto " in hparams


@pytest.mark.parametrize("row", rows(), ids=title)
def test_row_names_what_exists(row):
    assert (REPOSITORY / row["script"]).is_file()
    readme = (REPOSITORY / row["readme"]).read_text(encoding="utf-8")
    assert f"{row['script']} {experiment(row).relative_to(REPOSITORY).as_posix()}" in readme


@pytest.mark.slow
@pytest.mark.parametrize("row", rows(), ids=title)
def test_row_runs_and_leaves_its_files(row, tmp_path, tmp_path_factory):
    cache = tmp_path_factory.getbasetemp().parent / "synthetic"
    arguments = [
        str(experiment(row)),
        *shlex.split(row["arguments"]),
        f"--output_folder={tmp_path / 'out'}",
        f"--synthetic_folder={cache}",
        "--device=cpu",
        "--noprogressbar",
    ]
    script = REPOSITORY / row["script"]
    if title(row) in BARE:
        command = [sys.executable, str(script), *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    else:
        done = run_script(script, arguments, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    missing = [name for name in row["leaves"].split() if not (tmp_path / "out" / name).is_file()]
    assert not missing
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "nothing is written elsewhere"
    if "env.log" in row["leaves"].split():
        said = (tmp_path / "out" / "env.log").read_text(encoding="utf-8")
        assert said.startswith("SpeechBrain system description")


class NoDuplicates(yaml.SafeLoader):
    """Reads the structure only, and refuses a key that stands twice."""

    def construct_mapping(self, node, deep=False):
        names = [key.value for key, _ in node.value]
        twice = {name for name in names if names.count(name) > 1}
        assert not twice, f"keys that stand twice: {sorted(twice)}"
        return super().construct_mapping(node, deep)


def _any_tag(loader, suffix, node):
    del suffix
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)


NoDuplicates.add_multi_constructor("!", _any_tag)


@pytest.mark.parametrize(
    "path", sorted(REPOSITORY.glob("hparams/**/*.yaml")), ids=lambda path: path.stem
)
def test_yaml_has_no_key_twice(path):
    assert yaml.load(path.read_text(encoding="utf-8"), NoDuplicates)
