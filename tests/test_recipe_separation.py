"""The recipe of separation from its command line to a folder that loads, on mixtures of tones."""

import csv
import re
import sys
from functools import partial

import numpy as np
import pytest
import torch
from separators import RATE, two_tones, write_speech
from speechbrain.utils.run_opts import RunOptions
from task_runs import TaskRun, scores

from wavcube.cli.main import main as wavcube
from wavcube.data.audio import read_audio, write_audio
from wavcube.data.mixing.mixtures import MixtureDataset, read_mixtures
from wavcube.experiment.command_line import read_yaml
from wavcube.inference import WavCubeSeparator
from wavcube.metrics import best_permutation, score_pair
from wavcube.release.folder import load_release, read_card

MEL = "--representation=!include:representation/mel.yaml"
TINY = [
    "--device=cpu", "--noprogressbar", "--updates=6", "--warmup=1", "--validate_every=2",
    "--ckpt_interval_steps=1", "--batch_size=2", "--crop_seconds=0.4", "--sample_clips=1",
    "--mixtures={train: null, valid: 1, test: 2}", "--metrics=[stoi, si_sdr]",
    "--synthetic_minutes=1",
]  # fmt: skip
SMALL_MASK = ["--hidden_dim=8", "--n_fft=512"]
SMALL_CONV = ["--num_filters=8", "--bottleneck_dim=4", "--hidden_dim=8", "--num_blocks=2",
              "--num_repeats=1"]  # fmt: skip


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    return write_speech(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def recipe(repository, tmp_path_factory):
    """Function that runs the recipe in a folder of its own and returns that folder."""
    folder = tmp_path_factory.mktemp("runs")
    return TaskRun(
        repository, "Libri2Mix/train_separation.py", "separation", folder, [MEL, *TINY, *SMALL_MASK]
    )


@pytest.fixture(scope="module")
def finished(recipe, speech):
    return recipe(f"--data_folder={speech}")


def test_a_run_leaves_table_log_samples_and_release(finished):
    found = scores(finished)
    assert list(found) == ["mixture", "at the start", "mask"]
    assert found["mixture"].keys() == {"stoi", "si_sdr"}
    gain = found["mask"]["si_sdr"] - found["mixture"]["si_sdr"]
    assert found["mask"]["SI-SDR gain [dB]"] == pytest.approx(gain)
    assert found["mask"]["si_sdr"] != found["at the start"]["si_sdr"]
    assert len((finished / "train_log.txt").read_text().splitlines()) == 3
    card = read_card(finished / "release")
    assert card.title == "WavCube separator"
    assert card.results["mask"]["si_sdr"] == pytest.approx(found["mask"]["si_sdr"])
    assert (finished / "samples" / "spectrograms.png").is_file()


def test_class_and_command_line_give_what_the_recipe_has_scored(finished, speech, tmp_path, capsys):
    row = read_mixtures(finished / "manifests" / "test.csv", speech)[0]
    item = MixtureDataset([row], RATE, "min")[0]
    release = str(finished / "release")
    write_audio(tmp_path / "mixture.wav", item["wav"], RATE)
    model = WavCubeSeparator.from_hparams(release, run_opts={"device": "cpu"})
    by_class = model.separate_file(tmp_path / "mixture.wav")[0]
    said = ["separate", str(tmp_path / "mixture.wav"), "--source", release, "--device", "cpu"]
    assert wavcube([*said, "--out", str(tmp_path / "out.wav")]) == 0
    files = [tmp_path / f"out_{place}.wav" for place in (1, 2)]
    by_command = torch.stack([read_audio(path, RATE) for path in files], dim=1)
    torch.testing.assert_close(by_command, by_class.clamp(-1, 1), rtol=0, atol=1e-4)
    order = best_permutation(item["sources"].T.numpy(), by_command.T.numpy())
    for place, source in zip(order, item["sources"].T, strict=True):
        assert score_pair(source.numpy(), by_command[:, place].numpy(), RATE, ["si_sdr"])
    sample = next((finished / "samples").glob("*_mask.wav"))
    written = read_audio(sample, RATE).numpy()
    differences = [np.abs(written - wav.numpy()).max() for wav in by_class.T]
    assert min(differences) < 1e-3, "the samples are what the class gives"
    assert wavcube([*said, "--out", str(tmp_path / "out.wav")]) == 2, "nothing is overwritten"
    assert "out_1.wav exists: pass --overwrite" in capsys.readouterr().err


def test_the_yaml_of_another_recipe_is_refused(mistaken, speech):
    line = mistaken(f"--data_folder={speech}", yaml="asr", options=["--device=cpu"])
    assert "the YAML is of the task recognition, the recipe of separation" in line


def test_releases_of_other_classes_are_refused(finished):
    from wavcube import WavCube

    with pytest.raises(ValueError, match="load it with WavCubeSeparator"):
        WavCube.from_hparams(finished / "release", run_opts={"device": "cpu"})


def test_the_best_checkpoint_is_released(finished, recipe, speech, monkeypatch):
    lines = (finished / "train_log.txt").read_text().splitlines()
    best = max(float(re.search(r"valid .*?si_sdr: ([^,]+)", line)[1]) for line in lines)
    kept = [float(re.search(r"^si_sdr: (\S+)", path.read_text(), re.MULTILINE)[1])
            for path in finished.glob("save/CKPT*/CKPT.yaml")
            if "si_sdr" in path.read_text()]  # fmt: skip
    assert max(kept) == pytest.approx(best, rel=1e-2)
    before = scores(finished)

    def tampered(*_):
        raise AssertionError("a finished run must not train again")

    monkeypatch.setattr(recipe.brain, "fit_batch", tampered)
    recipe(f"--data_folder={speech}")
    assert scores(finished) == before


def test_the_best_weights_are_released_and_not_the_last(recipe, speech, monkeypatch):
    recipe.check_that_the_best_weights_are_released(monkeypatch, f"--data_folder={speech}")


@pytest.mark.slow
def test_a_killed_run_ends_as_one_that_was_not(recipe, speech, tmp_path):
    recipe.check_that_a_killed_run_ends_as_another(tmp_path, f"--data_folder={speech}")


def write_own(folder):
    """Two mixtures for each split, as files and as sources to be mixed."""
    rows = []
    for number, split in enumerate(("train", "train", "valid", "test")):
        mixture, sources = two_tones(0.8, 10 * number)
        for name, wav in (("mix", mixture), ("s1", sources[:, 0]), ("s2", sources[:, 1])):
            write_audio(folder / name / f"{number}.wav", wav, RATE)
        paths = {f"source_{i}_path": f"s{i}/{number}.wav" for i in (1, 2)}
        names = {"mixture_ID": f"m{number}", "split": split, "spk_id": f"a{number}_b{number}"}
        rows.append({**names, **paths, "mixture_path": f"mix/{number}.wav"})
    with (folder / "own.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "own.csv"


def test_a_release_is_tuned_on_mixtures_of_the_users_own(finished, recipe, tmp_path):
    source = write_own(tmp_path)
    release = f"--pretrained={finished / 'release'}"
    own = [f"--data_folder={source}", release, "--updates=2", "--remix=False"]
    out = recipe(*own, out="tuned")
    assert list(scores(out)) == ["mixture", "as released", "mask"]
    before, after = (load_release(f / "release").state_dict() for f in (finished, out))
    assert before.keys() == after.keys()
    assert any(not before[name].equal(after[name]) for name in before)


def test_conv_tasnet_is_trained_by_the_same_recipe(recipe, speech):
    data = [f"--data_folder={speech}", "--updates=2", "--sample_rate=8000"]
    out = recipe(*data, out="conv", yaml="separation_convtasnet", options=[*TINY, *SMALL_CONV])
    assert list(scores(out)) == ["mixture", "at the start", "Conv-TasNet"]
    model = WavCubeSeparator.from_hparams(out / "release", run_opts={"device": "cpu"})
    assert model.sample_rate == 8000
    assert read_card(out / "release").upstream == []


def test_masks_run_at_8_khz(recipe, repository, speech, tmp_path):
    text = (repository / "hparams" / "representation" / "mel.yaml").read_text()
    (tmp_path / "mel.yaml").write_text(text.replace("sample_rate: 16000", "sample_rate: 8000"))
    options = [
        f"--representation=!include:{tmp_path / 'mel.yaml'}",
        *TINY,
        *SMALL_MASK,
        "--updates=2",
        "--validate_every=2",
    ]
    out = recipe(f"--data_folder={speech}", out="narrow", options=options)
    assert load_release(out / "release").sample_rate == 8000


@pytest.fixture
def mistaken(recipe, capsys):
    """Function that runs the recipe, which must refuse, and returns its one line."""
    return partial(recipe.refusal, capsys)


def test_mistakes_end_with_one_line_and_code_2(mistaken, speech, tmp_path, finished):
    data = f"--data_folder={speech}"
    assert "nowhere" in mistaken("--data_folder=nowhere")
    assert "sample_clips is 0" in mistaken(data, "--sample_clips=0")
    assert "best_metric 'wer' is not one of" in mistaken(data, "--best_metric=wer")
    assert "noisy mixtures need noise" in mistaken(data, "--noisy=True")
    assert "libri2mix_train-clean-100.csv" in mistaken(data, f"--metadata_folder={tmp_path}")
    assert "'softmin' for 2 sources" in mistaken(data, "--activation=softmin")
    release = f"--pretrained={finished / 'release'}"
    message = mistaken(data, release, yaml="separation_convtasnet", options=[*TINY, *SMALL_CONV])
    assert "holds a MaskSeparator, the configuration trains a WaveformSeparator" in message
    source = write_own(tmp_path)
    own = f"--data_folder={source}"
    source.write_text(source.read_text().replace("source_1_path", "path"))
    assert "no column 'source_1_path'" in mistaken(own)
    source = write_own(tmp_path)
    (tmp_path / "s2" / "1.wav").unlink()
    assert "row 2, column 'source_2_path': there is no file" in mistaken(own)


def test_a_best_metric_that_fails_is_refused_before_training(mistaken, speech, monkeypatch):
    data, small = f"--data_folder={speech}", [*TINY, *SMALL_CONV, "--best_metric=pesq_wb"]
    conv = {"yaml": "separation_convtasnet", "options": small}
    assert "PESQ-WB needs 16000 Hz" in mistaken(data, "--sample_rate=8000", **conv)
    monkeypatch.setitem(sys.modules, "asteroid.losses", None)
    said = mistaken(data, **conv)
    assert "separation needs asteroid: pip install 'wavcube[eval]'" in said


def test_ctrl_c_says_where_the_run_goes_on(recipe, speech, monkeypatch, capsys):
    train, calls = recipe.brain.fit_batch, iter(range(9))

    def interrupted(brain, batch):
        if next(calls) == 2:
            raise KeyboardInterrupt
        return train(brain, batch)

    monkeypatch.setattr(recipe.brain, "fit_batch", interrupted)
    with pytest.raises(SystemExit) as stop:
        recipe(f"--data_folder={speech}", out="interrupted")
    assert stop.value.code == 130
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.endswith("the same command goes on from the last checkpoint (update 2)")


def test_a_run_goes_on_with_its_own_data_only(finished, recipe, tmp_path, capsys):
    with pytest.raises(SystemExit):
        recipe(f"--data_folder={write_speech(tmp_path)}")
    assert "is of a run with other data" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name",
    ["separation", "separation_latent", "separation_convtasnet", "separation_superb"],
)
def test_every_key_of_the_yaml_is_used(repository, readers, name):
    text = read_yaml(repository / "hparams" / f"{name}.yaml")
    keys = re.findall(r"^(\w+):", text, flags=re.MULTILINE)
    assert len(keys) == len(set(keys))
    options = RunOptions().as_dict()
    for key in set(keys) - {"__set_seed"}:
        used = f"<{key}" in text or f'"{key}"' in readers or key in options
        assert used, f"{key} is read by nothing"
