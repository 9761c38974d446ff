"""The recipe of voice conversion from its command line to a folder that loads, on tones."""

import json
import re
import shutil
from functools import partial

import pytest
import torch
from converters import RATE, write_vctk
from releases import random_release
from speechbrain.utils.run_opts import RunOptions
from task_runs import TaskRun, scores

from wavcube.cli.main import main as wavcube
from wavcube.data.audio import read_audio, write_audio
from wavcube.experiment.command_line import read_yaml
from wavcube.inference import WavCubeVoiceConverter
from wavcube.release.folder import load_release, read_card
from wavcube.tasks.conversion.trials import ACCEPTED
from wavcube.testing import tone

TINY = [
    "--device=cpu", "--noprogressbar", "--updates=6", "--warmup=1", "--validate_every=2",
    "--ckpt_interval_steps=1", "--batch_size=2", "--crop_seconds=0.3", "--reference_seconds=2",
    "--copies=1", "--valid_utterances=2", "--valid_lessons=2", "--sample_clips=1",
    "--metrics=[mel_cepstral_distortion]", "--scoring_processes=1",
]  # fmt: skip
SMALL = ["--model_dim=8", "--num_layers=1", "--content_dim=4", "--num_heads=2"]
SPEAKERS = ["--valid_speakers=[p3]", "--test_speakers=[p4, p5]"]


@pytest.fixture(scope="module")
def vctk(tmp_path_factory):
    return write_vctk(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def source(repository, tmp_path_factory):
    """The option that takes a tiny WavCube in place of the package's."""
    folder = tmp_path_factory.mktemp("wavcube")
    text = (repository / "hparams" / "representation" / "wavcube.yaml").read_text()
    release = random_release(folder / "release")
    changed = re.sub(r"^source: null", f"source: {release}", text, flags=re.MULTILINE)
    assert changed != text
    (folder / "tiny.yaml").write_text(changed)
    return f"--representation=!include:{folder / 'tiny.yaml'}"


@pytest.fixture(scope="module")
def recipe(repository, source, tmp_path_factory):
    """Function that runs the recipe in a folder of its own and returns that folder."""
    folder = tmp_path_factory.mktemp("runs")
    return TaskRun(
        repository,
        "VCTK/train_voice_conversion.py",
        "voice_conversion",
        folder,
        [source, *TINY, *SMALL],
    )


@pytest.fixture(scope="module")
def finished(recipe, vctk):
    return recipe(f"--data_folder={vctk}", *SPEAKERS)


def test_a_run_leaves_table_log_samples_and_release(finished):
    found = scores(finished)
    assert list(found) == ["source, resynthesised", "at the start", "conversion"]
    columns = list(found["conversion"])
    assert columns[:2] == ["Similarity to target ↑", "Similarity to source ↓"]
    assert "mel_cepstral_distortion" in columns
    assert "wer" not in columns
    assert len((finished / "train_log.txt").read_text().splitlines()) == 3
    card = read_card(finished / "release")
    assert card.title == "WavCube voice converter"
    assert "agreed" in card.summary
    assert len(list((finished / "samples").glob("*.wav"))) == 3


def test_class_and_command_line_give_what_the_recipe_has_scored(finished, tmp_path):
    converted = next((finished / "samples").glob("*_converted.wav"))
    files = [str(converted).replace("converted", kind) for kind in ("source", "reference")]
    release, expected = str(finished / "release"), read_audio(converted, RATE)
    user = WavCubeVoiceConverter.from_hparams(release, run_opts={"device": "cpu"})
    by_class = user.convert_file(*files)[0].clamp(-1, 1)
    torch.testing.assert_close(by_class, expected, rtol=0, atol=1e-3)
    out = str(tmp_path / "out.wav")
    assert wavcube(["convert", *files, "--source", release, "--device", "cpu", "--out", out]) == 0
    torch.testing.assert_close(read_audio(out, RATE), by_class, rtol=0, atol=1e-4)


def test_the_best_checkpoint_is_released(finished, recipe, vctk, monkeypatch):
    lines = (finished / "train_log.txt").read_text().splitlines()
    best = min(float(re.search(r"valid latent: (\S+)", line)[1].rstrip(",")) for line in lines)
    kept = [float(re.search(r"latent: (\S+)", path.read_text())[1])
            for path in finished.glob("save/CKPT*/CKPT.yaml")]  # fmt: skip
    assert min(kept) == pytest.approx(best, rel=1e-2)
    before = scores(finished)

    def tampered(*_):
        raise AssertionError("a finished run must not train again")

    monkeypatch.setattr(recipe.brain, "fit_batch", tampered)
    recipe(f"--data_folder={vctk}", *SPEAKERS)
    assert scores(finished) == before


def test_the_best_weights_are_released_and_not_the_last(recipe, vctk, monkeypatch):
    given = (f"--data_folder={vctk}", *SPEAKERS)
    recipe.check_that_the_best_weights_are_released(monkeypatch, *given)


@pytest.mark.slow
def test_a_killed_run_ends_as_one_that_was_not(recipe, vctk, tmp_path):
    recipe.check_that_a_killed_run_ends_as_another(tmp_path, f"--data_folder={vctk}", *SPEAKERS)


def test_a_release_is_tuned_on_a_csv(finished, recipe, vctk):
    files = sorted((vctk / "wav48_silence_trimmed").glob("*/*.flac"))
    source = vctk / "mine.csv"
    # every recording twice, as if they were others: a speaker needs four
    rows = [f"{path.relative_to(vctk)},{path.stem}{k},{path.parent.name}"
            for path in files for k in "ab"]  # fmt: skip
    source.write_text("\n".join(["wav,ID,spk_id", *rows]))
    release = f"--pretrained={finished / 'release'}"
    out = recipe(f"--data_folder={source}", release, "--updates=2", out="tuned")
    found = scores(out)
    assert list(found) == ["source, resynthesised", "as released", "conversion"]
    assert "mel_cepstral_distortion" not in found["conversion"], "nothing is known to be parallel"
    before, after = (load_release(f / "release").state_dict() for f in (finished, out))
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed
    assert all(name.startswith("head.") for name in changed)


def test_a_flow_is_trained_by_the_same_recipe(recipe, vctk):
    arguments = [f"--data_folder={vctk}", *SPEAKERS, "--flow_steps=2", "--updates=2"]
    out = recipe(*arguments, out="flow", yaml="voice_conversion_flow")
    assert type(load_release(out / "release").head).__name__ == "FlowConversion"


def test_any_to_one_needs_no_reference(recipe, vctk, tmp_path):
    shutil.copytree(vctk, tmp_path / "data")
    for index in (3, 4):  # the target needs two sentences to learn from, and one for validation
        for kind in ("wav48_silence_trimmed/p1/p1_{:03d}_mic1.flac", "txt/p1/p1_{:03d}.txt"):
            shutil.copy(tmp_path / "data" / kind.format(1), tmp_path / "data" / kind.format(index))
    sizes = ["--hidden_dim=6", "--prenet_dim=4", "--decoder_dim=6", "--sentences_per_pair=1"]
    target = ["--target_speaker=p1", "--valid_sentences=2", f"--data_folder={tmp_path / 'data'}"]
    out = recipe(
        *SPEAKERS, *target, "--updates=2", out="one", yaml="voice_conversion_any_to_one",
        options=[recipe.options[0], *TINY, *sizes],
    )  # fmt: skip
    user = WavCubeVoiceConverter.from_hparams(out / "release", run_opts={"device": "cpu"})
    converted = next((out / "samples").glob("*_converted.wav"))
    made = user.convert_file(str(converted).replace("converted", "source"))[0].clamp(-1, 1)
    torch.testing.assert_close(made, read_audio(converted, RATE), rtol=0, atol=1e-3)


def write_vcc2020(folder):
    """A CSV of VCC2020 as the README has it: what a target learns from, then what all say."""
    rows = ["ID,wav,spk_id,wrd"]
    for place, speaker in enumerate(("TEF1", "TEF2", "SEF1", "SEM1")):
        own = ["E10001", "E10002", "E20001"] if speaker[0] == "T" else []
        for index, name in enumerate([*own, "E30001", "E30002"]):
            write_audio(folder / speaker / f"{name}.wav", tone(0.9, 10 * place + index), RATE)
            words = f"sentence {name}" if name.startswith("E3") else ""
            rows.append(f"{speaker}_{name},{speaker}/{name}.wav,{speaker},{words}")
    (folder / "vcc2020.csv").write_text("\n".join(rows))
    return folder / "vcc2020.csv"


def test_superb_sg_s_conversion_is_judged_by_the_target_s_own_sentences(recipe, tmp_path, capsys):
    sizes = ["--hidden_dim=6", "--prenet_dim=4", "--decoder_dim=6", "--valid_sentences=2"]
    speakers = ["--valid_speakers=[TEF2]", "--test_speakers=[SEF1, SEM1]"]
    out = recipe(
        f"--data_folder={write_vcc2020(tmp_path)}", *speakers, "--updates=2", out="superb",
        yaml="voice_conversion_superb", options=[recipe.options[0], *TINY, *sizes],
    )  # fmt: skip
    told = capsys.readouterr().out
    assert "train 3 (" in told, "not the sentences that the sources say too"
    assert "of 4 of 4 trials" in told
    found = json.loads((out / "metrics.json").read_text())["scores"]["any to one"]
    assert found["mel_cepstral_distortion"]["count"] == 4
    # no voice may be found in what an untrained network says
    assert found[ACCEPTED]["count"] + len(found[ACCEPTED]["failed"]) == 4
    assert load_release(out / "release").head.recurrent_projection


@pytest.fixture
def mistaken(recipe, capsys, tmp_path):
    """Function that runs the recipe, which must refuse, and returns its one line."""
    return partial(recipe.refusal, capsys, out=tmp_path / "mistaken")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--best_metric=stoi"], "best_metric 'stoi' is not one"),
        (["--metrics=[stoi]"], "metrics ['stoi'] are none of conversion's"),
        (["--copies=0"], "copies 0: a converter learns from at least 1"),
        (["--target_speaker=p9"], "target_speaker 'p9' has 0 utterances"),
        (["--target_speaker=p1", "--valid_sentences=0"], "valid_sentences is 0: give 1 or more"),
        (["--valid_lessons=0"], "valid_lessons is 0: give 1 or more"),
        (["--pretrained=/nowhere"], "/nowhere"),
    ],
)
def test_mistakes_are_one_line(mistaken, vctk, arguments, message):
    assert message in mistaken(f"--data_folder={vctk}", *SPEAKERS, *arguments)


def test_rows_without_a_speaker_are_named(mistaken, vctk):
    path = next((vctk / "wav48_silence_trimmed").glob("*/*.flac"))
    source = vctk / "nobody.csv"
    source.write_text(f"wav,spk_id\n{path},p1\n{path},\n")
    assert "nobody.csv, row 2" in mistaken(f"--data_folder={source}")
    source.write_text(f"ID,wav,spk_id\na,{path},p1\nb,{path},p1\n")
    assert f"{source.name}, row 1 (a)" in mistaken(f"--data_folder={source}")


def test_speakers_must_be_named(mistaken, vctk):
    line = mistaken(f"--data_folder={vctk}")
    assert "valid_speakers and test_speakers" in line


def test_a_speaker_with_one_utterance_is_named_with_its_row(mistaken, vctk, tmp_path):
    shutil.copytree(vctk, tmp_path / "data")
    (tmp_path / "data" / "wav48_silence_trimmed" / "p2" / "p2_002_mic1.flac").unlink()
    line = mistaken(f"--data_folder={tmp_path / 'data'}", *SPEAKERS)
    assert "p2_001_mic1.flac: " in line
    assert "the only utterance of speaker 'p2'" in line


@pytest.mark.parametrize(
    "name",
    ["voice_conversion", "voice_conversion_flow", "voice_conversion_any_to_one",
     "voice_conversion_superb"],
)  # fmt: skip
def test_every_key_of_the_yaml_is_used(repository, readers, name):
    text = read_yaml(repository / "hparams" / f"{name}.yaml")
    keys = set(re.findall(r"^(\w+):", text, flags=re.MULTILINE)) - {"__set_seed"}
    options = RunOptions().as_dict()
    for key in keys:
        assert f"<{key}>" in text or f'"{key}"' in readers or key in options, f"{key} is unused"
