"""The latent's recipe from its command line to a folder that loads, on tones and a tiny model."""

import ast
import json
import logging
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch
from processes import run_code
from releases import full_disk, random_release
from safetensors.torch import load_file
from speechbrain.utils.run_opts import RunOptions
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from wavcube.data.audio import read_audio, write_audio
from wavcube.data.manifest import Utterance
from wavcube.experiment import report as latent_report
from wavcube.experiment.report import COUNTS
from wavcube.latent.brain import Discriminators, LatentBrain
from wavcube.latent.parts import LatentParts
from wavcube.latent.run import LatentRun
from wavcube.release.folder import latent_hash, load_release, read_card, release_hash
from wavcube.testing import tiny_wavcube, tone

TINY = [
    "--model=!include:model/tiny.yaml", "--device=cpu", "--noprogressbar", "--precision=fp32",
    "--stage1_updates=4", "--stage2_updates=4", "--validate_every=3", "--ckpt_interval_steps=2",
    "--warmup=1", "--batch_size=2", "--crop_seconds=0.3", "--valid_utterances=2",
    "--test_utterances=2", "--shortest_test=0.5", "--metrics=[mel_distance, stoi]",
    "--sample_clips=1",
]  # fmt: skip


@pytest.fixture
def recipe(repository, tmp_path, monkeypatch):
    """Function that runs the recipe in a folder of its own and returns that folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    train = str(repository / "recipes" / "LibriSpeech" / "train.py")
    usage = ast.get_docstring(ast.parse(Path(train).read_text()))
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    def run(*arguments, out="run", tiny=TINY, yaml="wavcube"):
        path = repository / "hparams" / f"{yaml}.yaml"
        try:
            LatentRun(train, usage).main(
                [str(path), f"--output_folder={tmp_path / out}", *tiny, *arguments]
            )
        finally:
            for handler in set(root.handlers) - set(handlers):
                handler.close()
            root.handlers[:] = handlers
            root.setLevel(level)
        return tmp_path / out

    return run


@pytest.fixture
def speech(tmp_path):
    folder = tmp_path / "speech"
    folder.mkdir()
    for index in range(8):
        write_audio(folder / f"clip{index}.wav", tone(0.6 + 0.1 * index, index), 16000)
    return folder


def scores(folder):
    content = json.loads((folder / "metrics.json").read_text())
    return {
        row: {column: cell["mean"] for column, cell in cells.items()}
        for row, cells in content["scores"].items()
    }


def tampered(*_):
    raise AssertionError("a finished run must not train again")


def test_a_run_leaves_table_log_samples_and_release(recipe, speech, capsys, monkeypatch):
    out = recipe(f"--data_folder={speech}")
    said = capsys.readouterr().out
    for heading in ("stage 1", "stage 2", "STOI", "Log-mel distance", "h_hat to teacher: cosine"):
        assert heading in said
    assert "utterances: train 6 (0.1 minutes), valid 1 (" in said
    for line in (f"release: {out / 'release'}", f"samples: {out / 'samples'}", "time: 0:00:"):
        assert line in said
    assert "Run option" not in said
    first = scores(out)
    assert first.keys() == {"stage 1", "stage 2"}
    assert first["stage 1"]["encoder to teacher: cosine"] == pytest.approx(1.0, abs=1e-5)
    assert first["stage 2"]["encoder to teacher: cosine"] < 0.99999
    facts = json.loads((out / "metrics.json").read_text())
    assert facts["metrics"]["stoi"]["version"]
    assert [stage["updates"] for stage in facts["stages"].values()] == [4, 4]
    lines = (out / "train_log.txt").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["run: stage 1"] * 2 + ["run: stage 2"] * 2
    names = {path.name.split("_", 1)[-1] for path in (out / "samples").iterdir()}
    assert names == {"original.wav", "stage1.wav", "stage2.wav", "spectrograms.png"}
    check_tensorboard(out / "stage2" / "tensorboard")
    check_release(out)

    monkeypatch.setattr(LatentBrain, "fit_batch", tampered)
    for arguments in ([], ["--test_only"]):
        recipe(f"--data_folder={speech}", *arguments)
        assert scores(out) == first


def test_a_decoder_is_polished_on_latents_that_stay_as_they_were(recipe, speech):
    data = [f"--data_folder={speech}", "--add_synthetic=False", "--stages=[stage2, polish]"]
    out = recipe(*data, "--polish_updates=3", yaml="wavcube_tiny")
    before, after = (load_release(out / name) for name in ("stage2/release", "release"))
    assert latent_hash(before) == latent_hash(after)
    assert release_hash(before) != release_hash(after)


def check_tensorboard(folder):
    events = EventAccumulator(str(folder))
    events.Reload()
    tags = events.Tags()
    assert {"original/1", "generated/1"} <= set(tags["audio"]) & set(tags["images"])
    assert {"valid/mel", "valid/cosine"} <= set(tags["scalars"])


def check_release(out):
    """The release decodes the sample that the recipe wrote."""
    model = load_release(out / "release")
    assert model.latent_basis.is_fitted
    assert not load_release(out / "stage1" / "release").latent_basis.is_fitted
    original = next((out / "samples").glob("*_original.wav"))
    expected = read_audio(str(original).replace("_original", "_stage2"), 16000)
    wav = read_audio(original, 16000)[None]
    with torch.no_grad():
        latents, lens = model.encode(wav)
        copy = model.decode(latents, lens, length=wav.shape[1])[0]
    torch.testing.assert_close(copy.clamp(-1, 1), expected, rtol=0, atol=2e-3)


DYING = """
import os, signal
from wavcube.latent.brain import LatentBrain

forward, count = LatentBrain.fit_batch, iter(range(100))

def dying(self, batch):
    if self.settings.name == "stage 2" and next(count) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return forward(self, batch)

LatentBrain.fit_batch = dying
"""


@pytest.mark.slow
def test_a_run_killed_in_stage_2_ends_as_one_that_was_not(speech, repository, tmp_path):
    script = str(repository / "recipes" / "LibriSpeech" / "train.py")

    def run(out, before=""):
        """Run the recipe in a process of its own, whatever other tests left in this one."""
        yaml = repository / "hparams" / "wavcube.yaml"
        arguments = [str(yaml), f"--output_folder={out}", *TINY, f"--data_folder={speech}"]
        code = f"{before}\nfrom wavcube.latent.run import LatentRun\n"
        code += f"LatentRun({script!r}, '').main({arguments!r})"
        return run_code(code, tmp_path).returncode

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run(whole) == 0
    assert run(killed, DYING) == -signal.SIGKILL
    assert not (killed / "release").exists()
    assert run(killed) == 0
    assert scores(killed) == scores(whole)
    weights = [load_release(folder / "release").state_dict() for folder in (whole, killed)]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])


def test_a_release_is_fine_tuned_on_a_csv(recipe, speech, monkeypatch):
    source = recipe(f"--data_folder={speech}", "--stages=[stage2]", out="source") / "release"
    manifest = speech.parent / "mine.csv"
    rows = [f"{path.stem},{path}" for path in sorted(speech.iterdir())]
    manifest.write_text("\n".join(["ID,wav", *rows]))
    out = recipe(f"--data_folder={manifest}", f"--pretrained={source}", out="tuned")
    assert scores(out).keys() == {"as released", "stage 2"}
    before, after = load_release(source).state_dict(), load_release(out / "release").state_dict()
    assert before.keys() == after.keys()
    assert any(not before[name].equal(after[name]) for name in before)
    assert before["latent_basis.matrix"].equal(after["latent_basis.matrix"]), "heads go on fitting"
    assert (out / "release" / "training.safetensors").is_file(), "it can be tuned again"
    made, tuned = read_card(source), read_card(out / "release")
    assert set(made.upstream) < set(tuned.upstream), "what it was made of goes with it"
    assert [data.name for data in tuned.data] == ["mine.csv", "speech"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data_folder=nowhere"], "nowhere"),
        (["--pretrained=nowhere"], "nowhere"),
        (["--no_such_key=1"], "no_such_key"),
        (["--stages=[stage7]"], "stage7"),
        (["--data_folder=empty"], "no audio"),
        (["--test_only"], "train first"),
        (["--metrics=[mel_distanc]"], "mel_distanc"),
        (["--sample_clips=0"], "sample_clips"),
        (["--batch_size=0"], "batch_size is 0: give 1 or more"),
        (["--num_workers=-1"], "num_workers is -1: give 0 or more"),
        (["--shortest_test=9"], "lower shortest_test"),
        (["--longest_test=0.55"], "raise longest_test"),
    ],
)
def test_mistakes_end_with_one_line_and_code_2(recipe, speech, capsys, arguments, message):
    (speech.parent / "empty").mkdir()
    if "--data_folder" not in arguments[0]:
        arguments = [*arguments, f"--data_folder={speech}"]
    with pytest.raises(SystemExit) as stop:
        recipe(*arguments)
    assert stop.value.code == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(errors) == 1
    assert message in errors[0]
    if message not in ("stage7", "train first"):
        assert not (speech.parent / "run").exists(), "a mistake leaves nothing behind"


@pytest.mark.parametrize(
    ("updates", "message"),
    [
        (0, "the same command starts from the beginning"),
        (3, "the same command goes on from the last checkpoint (update 3 of stage1)"),
    ],
)
def test_ctrl_c_says_how_the_run_goes_on(recipe, speech, capsys, monkeypatch, updates, message):
    train, calls = LatentBrain.fit_batch, iter(range(100))

    def interrupted(self, batch):
        if next(calls) == updates:
            raise KeyboardInterrupt
        return train(self, batch)

    monkeypatch.setattr(LatentBrain, "fit_batch", interrupted)
    with pytest.raises(SystemExit) as stop:
        recipe(f"--data_folder={speech}")
    assert stop.value.code == 130
    assert capsys.readouterr().err.splitlines()[-1] == f"train.py: interrupted: {message}"


def test_help_lists_the_keys_of_the_yaml(recipe, capsys):
    with pytest.raises(SystemExit) as stop:
        recipe("--help")
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith("Train WavCube's latent")
    assert "\nmax_bad_fraction: 0.01 # of the audio files; above it the run stops\n" in said
    assert "__set_seed" not in said
    assert "--noprogressbar" in said


def test_without_matplotlib_nothing_is_trained(recipe, speech, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(LatentBrain, "fit_batch", tampered)
    with pytest.raises(SystemExit) as stop:
        recipe(f"--data_folder={speech}")
    assert stop.value.code == 2
    assert "pip install 'wavcube[recipes]'" in capsys.readouterr().err


@pytest.mark.parametrize("step", ["resynthesize", "score_rows", "write_samples"])
def test_an_evaluation_that_fails_leaves_the_release(recipe, speech, capsys, monkeypatch, step):
    def broken(*_):
        raise OSError("no space left")

    monkeypatch.setattr(latent_report, step, broken)
    with pytest.raises(SystemExit) as stop:
        recipe(f"--data_folder={speech}", "--stages=[stage1]", "--stage1_updates=1")
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == "train.py: error: no space left"
    model = load_release(speech.parent / "run" / "release")
    assert model.latent_basis.is_fitted
    card = read_card(speech.parent / "run" / "release")
    assert bool(card.results) is (step == "write_samples")


def evaluated(rows, **settings):
    """A run on a tiny model, before it begins."""
    lobe = tiny_wavcube()
    block = {"lobe": lobe, "discriminators": Discriminators({}), "encoder": lobe.encoder}
    hparams = {
        "output_folder": "run", "seed": 1, "pretrained": None, "ssl_source": None, "card": None,
        "data_folder": None, "training_folders": [], "add_synthetic": False,
        "stages": ["stage1"], "fine_tune_stages": ["stage1"], "metrics": ["stoi"],
        "valid_utterances": 9, "test_utterances": 9, "shortest_test": 1.0, "longest_test": 30.0,
        "sample_clips": 1, "scoring_processes": 1, **settings,
    }  # fmt: skip
    run_opts = {"device": "cuda", "noprogressbar": True}
    run = LatentRun("train.py", "")
    run.hparams, run.run_opts, run.folder = hparams, run_opts, Path("run")
    run.parts = LatentParts.from_block(block)
    run.choose(rows)
    return run


def test_an_entry_that_no_card_has_is_refused_before_the_training():
    rows = {name: [Utterance("a", 2.0, "a.wav")] for name in ("train", "valid", "test")}
    evaluated(rows, card={"title": "Mine"})
    for card in ({"licence": "MIT"}, "MIT"):
        with pytest.raises(ValueError, match=r"card: .*weights_license"):
            evaluated(rows, card=card)


def test_recordings_of_an_hour_are_left_out_of_validation_and_test(capsys):
    rows = [Utterance(f"{seconds}", seconds, "a.wav") for seconds in (0.5, 2.0, 30.0, 31.0, 3600.0)]
    run = evaluated({"train": rows, "valid": rows, "test": rows[1:]})
    assert [row.ID for row in run.valid_rows] == ["0.5", "2.0", "30.0"]
    assert [row.ID for row in run.test_rows] == ["2.0", "30.0"]
    run.begin()
    said = capsys.readouterr().out
    assert said.startswith("utterances: train 5 (61.1 minutes), valid 3 (0.5 minutes), test 2 (")
    assert said.endswith("; 4 of valid and test left out, longer than 30 s (longest_test)\n")
    short = {"train": rows, "valid": rows[:1], "test": rows[1:2]}
    evaluated(short).begin()
    assert "left out" not in capsys.readouterr().out
    for role in ("valid", "test"):
        with pytest.raises(ValueError, match=f"every {role} utterance.*raise longest_test"):
            evaluated({**short, role: rows[3:]})


def test_a_release_is_evaluated_where_the_run_is(monkeypatch, tmp_path):
    devices = []
    monkeypatch.setattr(latent_report, "resynthesize", lambda *given: devices.append(given[3]))
    rows = {name: [Utterance("a", 2.0, "a.wav")] for name in ("train", "valid", "test")}
    release = random_release(tmp_path / "release")
    evaluated(rows, pretrained=release).begin()
    assert devices == ["cuda"]


def test_a_table_that_cannot_be_written_leaves_the_earlier_one(tmp_path):
    path = tmp_path / "metrics.json"
    latent_report.write_metrics(path, {}, {"seed": 1})
    before = path.read_bytes()
    with full_disk(limit=50), pytest.raises(OSError, match="File too large"):
        latent_report.write_metrics(path, {}, {"seed": "2" * 9999})
    assert [*tmp_path.iterdir()] == [path]
    assert path.read_bytes() == before


def test_further_folders_are_for_training_alone(recipe, speech, tmp_path, monkeypatch):
    more = tmp_path / "more"
    more.mkdir()
    write_audio(more / "other.wav", tone(1.0, 9), 16000)
    seen = {}
    monkeypatch.setattr(LatentRun, "plan", lambda run, _: seen.update(run.rows) or exit(0))
    with pytest.raises(SystemExit):
        recipe(f"--data_folder={speech}", f"--training_folders=[{more}]")
    others = {name: [row.ID for row in rows if row.ID == "other"] for name, rows in seen.items()}
    assert others == {"train": ["other"], "valid": [], "test": []}


def test_what_is_kept_for_test_is_never_trained_on(recipe, speech, capsys, tmp_path):
    with pytest.raises(SystemExit) as ended:
        recipe(f"--data_folder={speech}", f"--training_folders=[{speech}]")
    assert ended.value.code == 2
    assert "kept for validation or test" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_with_its_own_data_and_settings_only(recipe, speech, capsys, tmp_path):
    mine, one_stage = f"--data_folder={speech}", "--stages=[stage1]"
    recipe(mine, one_stage)
    longer = [option.replace("stage1_updates=4", "stage1_updates=5") for option in TINY]
    other = shutil.copytree(speech, tmp_path / "other")
    for data, tiny, message in (
        (f"--data_folder={other}", TINY, "other data"),
        (mine, longer, "keep the settings"),
    ):
        with pytest.raises(SystemExit) as ended:
            recipe(data, one_stage, tiny=tiny)
        assert ended.value.code == 2
        assert message in capsys.readouterr().err


def test_discriminators_that_never_trained_are_not_released(recipe, speech):
    out = recipe(f"--data_folder={speech}", "--stages=[stage1]")
    keys = load_file(out / "release" / "training.safetensors").keys()
    assert keys
    assert not any(key.startswith("discriminators.") for key in keys)


def test_the_card_names_all_speech_and_no_private_path(recipe, speech, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", f"--data_folder={speech}", "--cache=/home/me/c"])
    more = tmp_path / "more"
    more.mkdir()
    write_audio(more / "other.wav", tone(1.0, 9), 16000)
    out = recipe(f"--data_folder={speech}", f"--training_folders=[{more}]", "--stages=[stage1]")
    card = read_card(out / "release")
    assert [source.name for source in card.data] == ["speech", "more"]
    assert card.commercial_use == "unclear"
    assert card.command == "python train.py --data_folder=speech --cache=me/c"


def test_every_key_of_the_yaml_is_used(repository, readers):
    text = (repository / "hparams" / "wavcube.yaml").read_text()
    code = readers + "".join(f'hparams["{key}"]' for key in COUNTS)
    keys = re.findall(r"^(\w+):", text, flags=re.MULTILINE)
    assert len(keys) == len(set(keys))
    options = RunOptions().as_dict()
    stages = {"stage1", "stage2", "__set_seed", "stages", "fine_tune_stages"}
    for key in set(keys) - stages:
        used = f"<{key}>" in text or f'hparams["{key}"]' in code or key in options
        assert used, f"{key} is read by nothing"
