"""docs/tasks.md: its own code becomes a keyword spotter, from a folder of words to a verb."""

import json
import os
import re
import shlex
import subprocess
import sys

import pytest
import tomllib
import torch
from recognizers import spell

from wavcube.data.audio import write_audio

pytestmark = pytest.mark.slow

SPEAKERS = ("anna", "ben", "cleo", "dora", "emil")


def blocks(text, language=""):
    """What stands between fences of a language; of commands, without one."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [block for name, block in found if name == language]


@pytest.fixture(scope="module")
def page(repository):
    return (repository / "docs" / "tasks.md").read_text()


@pytest.fixture(scope="module")
def shop(page, repository, tmp_path_factory):
    """The files that the page names, installed, and words to spot."""
    folder = tmp_path_factory.mktemp("shop")
    *module, _ = blocks(page, "python")
    (folder / "my_keywords.py").write_text("\n".join(module))
    (yaml,) = blocks(page, "yaml")
    (folder / "keywords.yaml").write_text(yaml.replace("HPARAMS", str(repository / "hparams")))
    (toml,) = blocks(page, "toml")
    project = tomllib.loads(toml)["project"]
    installed = folder / "my_keywords-0.1.dist-info"  # what pip makes of it
    installed.mkdir()
    about = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (installed / "METADATA").write_text(about)
    ((name, module_name),) = project["entry-points"]["wavcube_tasks"].items()
    (installed / "entry_points.txt").write_text(f"[wavcube_tasks]\n{name} = {module_name}\n")
    for word in ("yes", "no"):
        (folder / "words" / word).mkdir(parents=True)
        for place, speaker in enumerate(SPEAKERS):
            wav = (0.5 + 0.1 * place) * spell(word.upper()) + 0.01 * torch.randn(1)
            write_audio(folder / "words" / word / f"{speaker}.wav", wav, 16000)
    return folder


def run(shop, arguments):
    paths = [str(shop), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=shop,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def spotter(page, shop):
    command = shlex.split(blocks(page)[0])
    assert command.pop(0) == "python"
    run(shop, [*command, "--device=cpu", "--noprogressbar"])
    return shop / "spotter"


def test_the_run_learns_the_words_and_leaves_what_the_page_says(spotter):
    rows = json.loads((spotter / "metrics.json").read_text())["scores"]
    assert rows["trained"]["Accuracy [%] ↑"]["mean"] == 100.0
    table = (spotter / "samples" / "labels.csv").read_text().splitlines()
    assert table[0] == "ID,label,found"
    assert len(table) == 3
    assert json.loads((spotter / "release" / "config.json").read_text())["task"] == "keywords"


def test_the_verb_spots_a_word(page, shop, spotter):
    install, verb = blocks(page)[1].splitlines()
    assert install == "pip install ."
    program, *arguments = shlex.split(verb)
    assert program == "wavcube"
    assert re.match(r"yes \([01]\.\d\d\)$", run(shop, ["-m", "wavcube", *arguments]))
    assert "recordings of a word to the word" in run(shop, ["-m", "wavcube", "--help"])


def test_the_release_loads_without_an_import_by_hand(page, shop, spotter):
    code = blocks(page, "python")[-1] + "print(word, probability > 0.5)"
    assert run(shop, ["-c", code]) == "yes True\n"
