"""The recipe of enhancement from its command line to a folder that loads, on noisy tones."""

import json
import re
from functools import partial

import pytest
import torch
from enhancers import RATE, noisy_tone, write_pairs_folder
from mos_models import write_onnx
from speechbrain.utils.run_opts import RunOptions
from task_runs import TaskRun, scores

from wavcube.cli.main import main as wavcube
from wavcube.data.audio import read_audio, write_audio
from wavcube.experiment.command_line import read_yaml
from wavcube.inference import WavCubeEnhancer
from wavcube.metrics import score_many, score_pair
from wavcube.release.folder import load_release, read_card
from wavcube.tasks import signal as signal_recipe
from wavcube.testing import tone

MEL = "--representation=!include:representation/mel.yaml"
TINY = [
    "--device=cpu", "--noprogressbar", "--updates=6", "--warmup=1", "--validate_every=2",
    "--ckpt_interval_steps=1", "--batch_size=2", "--crop_seconds=0.4", "--hidden_dim=8",
    "--valid_utterances=2", "--test_utterances=2", "--shortest_test=0.5", "--sample_clips=1",
    "--metrics=[stoi, si_sdr]", "--best_metric=si_sdr",
]  # fmt: skip
SPEAKERS = ["--valid_speakers=[p3]", "--test_speakers=[p4]"]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_pairs_folder(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def recipe(repository, tmp_path_factory):
    """Function that runs the recipe in a folder of its own and returns that folder."""
    folder = tmp_path_factory.mktemp("runs")
    return TaskRun(repository, "VCTK/train_enhancement.py", "enhancement", folder, [MEL, *TINY])


@pytest.fixture(scope="module")
def finished(recipe, pairs):
    return recipe(f"--data_folder={pairs}", *SPEAKERS)


def samples(folder):
    """Clean, noisy and enhanced waveform of the first sample."""
    clean = next((folder / "samples").glob("*_original.wav"))
    paths = [str(clean).replace("_original", f"_{kind}") for kind in ("noisyinput", "mask")]
    return [read_audio(path, RATE) for path in (clean, *paths)]


def test_a_run_leaves_table_log_samples_and_release(finished):
    found = scores(finished)
    assert list(found) == ["noisy input", "at the start", "mask"]
    assert found["noisy input"].keys() == {"stoi", "si_sdr"}
    gain = found["mask"]["si_sdr"] - found["noisy input"]["si_sdr"]
    assert found["mask"]["SI-SDR gain [dB]"] == pytest.approx(gain)
    assert found["mask"]["si_sdr"] != found["at the start"]["si_sdr"]
    assert len((finished / "train_log.txt").read_text().splitlines()) == 3
    card = read_card(finished / "release")
    assert card.title == "WavCube enhancer"
    assert card.results["mask"]["si_sdr"] == pytest.approx(found["mask"]["si_sdr"])
    assert (finished / "samples" / "spectrograms.png").is_file()


@pytest.mark.parametrize("step", ["score_many", "write_samples"])
def test_an_evaluation_that_fails_leaves_the_release(
    finished, recipe, pairs, capsys, monkeypatch, step
):
    done = []

    def broken(*given, **options):
        # the noisy input and the untrained model are scored before the training
        done.append(step)
        if step == "score_many" and len(done) < 3:
            return score_many(*given, **options)
        raise OSError("no space left")

    monkeypatch.setattr(signal_recipe, step, broken)
    with pytest.raises(SystemExit) as stop:
        recipe(f"--data_folder={pairs}", *SPEAKERS, "--updates=1", out=step)
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("error: no space left")
    release = finished.parent / step / "release"
    load_release(release)
    assert ("mask" in read_card(release).results) is (step == "write_samples")


def test_class_and_command_line_give_what_the_recipe_has_scored(finished, tmp_path):
    clean, noisy, enhanced = samples(finished)
    release = str(finished / "release")
    write_audio(tmp_path / "noisy.wav", noisy, RATE)
    model = WavCubeEnhancer.from_hparams(release, run_opts={"device": "cpu"})
    by_class = model.enhance_file(tmp_path / "noisy.wav")[0]
    torch.testing.assert_close(by_class.clamp(-1, 1), enhanced, rtol=0, atol=1e-3)
    said = ["enhance", str(tmp_path / "noisy.wav"), "--source", release, "--device", "cpu"]
    assert wavcube([*said, "--out", str(tmp_path / "out.wav")]) == 0
    by_command = read_audio(tmp_path / "out.wav", RATE)
    torch.testing.assert_close(by_command, by_class.clamp(-1, 1), rtol=0, atol=1e-4)
    again = score_pair(clean.numpy(), by_command.numpy(), RATE, ["si_sdr"])["si_sdr"]
    files = json.loads((finished / "metrics.json").read_text())
    assert again == pytest.approx(files["scores"]["mask"]["si_sdr"]["mean"], abs=3.0)
    assert wavcube([*said, "--out", str(tmp_path / "out.wav")]) == 2, "nothing is overwritten"


def test_releases_of_other_classes_are_refused(finished):
    from wavcube import WavCube

    with pytest.raises(ValueError, match="load it with WavCubeEnhancer"):
        WavCube.from_hparams(finished / "release", run_opts={"device": "cpu"})


def test_the_best_checkpoint_is_released(finished, recipe, pairs, monkeypatch):
    lines = (finished / "train_log.txt").read_text().splitlines()
    best = max(float(re.search(r"valid si_sdr: (\S+)", line)[1].rstrip(",")) for line in lines)
    kept = [float(re.search(r"si_sdr: (\S+)", path.read_text())[1])
            for path in finished.glob("save/CKPT*/CKPT.yaml")]  # fmt: skip
    assert max(kept) == pytest.approx(best, rel=1e-2)
    before = scores(finished)

    def tampered(*_):
        raise AssertionError("a finished run must not train again")

    monkeypatch.setattr(recipe.brain, "fit_batch", tampered)
    recipe(f"--data_folder={pairs}", *SPEAKERS)
    assert scores(finished) == before


def test_the_best_weights_are_released_and_not_the_last(recipe, pairs, monkeypatch):
    given = (f"--data_folder={pairs}", *SPEAKERS)
    recipe.check_that_the_best_weights_are_released(monkeypatch, *given)


@pytest.mark.slow
def test_a_killed_run_ends_as_one_that_was_not(recipe, pairs, tmp_path):
    recipe.check_that_a_killed_run_ends_as_another(tmp_path, f"--data_folder={pairs}", *SPEAKERS)


def test_a_release_is_tuned_on_a_csv_of_pairs_and_rated(finished, recipe, pairs, tmp_path):
    rows = [
        f"{path.stem},noisy/{path.name},clean/{path.name},{path.stem[:2]}"
        for path in sorted((pairs / "noisy").iterdir())
    ]
    source = pairs / "mine.csv"
    source.write_text("\n".join(["ID,noisy,clean,spk_id", *rows]))
    release = f"--pretrained={finished / 'release'}"
    network = write_onnx(tmp_path / "sig_bak_ovr.onnx")
    options = ["--updates=2", f"--dnsmos_model={network}"]
    out = recipe(f"--data_folder={source}", release, *options, out="tuned")
    found = scores(out)
    assert list(found) == ["noisy input", "as released", "mask"]
    assert {"dnsmos_sig", "dnsmos_bak", "dnsmos_ovrl"} < found["noisy input"].keys()
    gain = found["mask"]["dnsmos_bak"] - found["noisy input"]["dnsmos_bak"]
    assert found["mask"]["DNSMOS P.835 BAK gain [MOS]"] == pytest.approx(gain, abs=1e-6)
    before, after = (load_release(f / "release").state_dict() for f in (finished, out))
    assert before.keys() == after.keys()
    assert any(not before[name].equal(after[name]) for name in before)


def test_clean_speech_is_mixed_with_a_folder_of_noise(recipe, tmp_path):
    for index in range(6):
        write_audio(tmp_path / "speech" / f"{index}.wav", tone(0.8, index), RATE)
        noise = noisy_tone(0.5, 20 + index)
        write_audio(tmp_path / "noise" / f"{index}.wav", noise[1] - noise[0], RATE)
        write_audio(tmp_path / "rooms" / f"{index}.wav", torch.eye(1, 200)[0], RATE)
    kinds = (("data", "speech"), ("noise", "noise"), ("room", "rooms"))
    folders = [f"--{kind}_folder={tmp_path / name}" for kind, name in kinds]
    out = recipe(*folders, "--room_probability=0.5", "--updates=2", out="mixed")
    assert scores(out)["noisy input"]["si_sdr"] < 16
    assert [source.name for source in read_card(out / "release").data] == [
        "speech",
        "noise",
        "rooms",
    ]


@pytest.fixture
def mistaken(recipe, capsys):
    """Function that runs the recipe, which must refuse, and returns its one line."""
    return partial(recipe.refusal, capsys)


def test_a_run_goes_on_with_its_own_speakers_only(finished, mistaken, pairs):
    arguments = [f"--data_folder={pairs}", *SPEAKERS, "--held_out_speakers=3"]
    line = mistaken(*arguments, out=finished.name)
    assert "is of a run with other data: {'held_out_speakers': 20}" in line


def test_mistakes_end_with_one_line_and_code_2(mistaken, pairs, tmp_path):
    data = f"--data_folder={pairs}"
    assert "nowhere" in mistaken("--data_folder=nowhere")
    assert "sample_clips is 0" in mistaken(data, *SPEAKERS, "--sample_clips=0")
    assert "best_metric 'wer' is not one of" in mistaken(data, *SPEAKERS, "--best_metric=wer")
    assert "valid_speakers must name speakers" in mistaken(data)
    message = mistaken(data, *SPEAKERS, yaml="enhancement_latent")
    assert "take the representation wavcube, not MelRepresentation" in message
    source = tmp_path / "mine.csv"
    source.write_text("noisy\na.wav\n")
    assert "no column 'clean'" in mistaken(f"--data_folder={source}")
    source.write_text(f"noisy,clean\n{pairs}/noisy/p1_000.wav,none.wav\n")
    assert "row 1, column 'clean': there is no file" in mistaken(f"--data_folder={source}")


@pytest.mark.parametrize("name", ["enhancement", "enhancement_latent", "enhancement_superb"])
def test_every_key_of_the_yaml_is_used(repository, readers, name):
    text = read_yaml(repository / "hparams" / f"{name}.yaml")
    keys = re.findall(r"^(\w+):", text, flags=re.MULTILINE)
    assert len(keys) == len(set(keys))
    asked = {f"{role}_utterances" for role in ("valid", "test")} | {"__set_seed"}
    options = RunOptions().as_dict()
    for key in set(keys) - asked:
        used = f"<{key}" in text or f'"{key}"' in readers or key in options
        assert used, f"{key} is read by nothing"
