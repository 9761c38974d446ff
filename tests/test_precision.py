"""What `auto` stands for on processors and GPUs, wherever a precision can be named."""

import json
import logging
import os
from contextlib import nullcontext

import pytest
import torch
import yaml
from releases import random_release
from several_processes import OPTIONS, in_processes
from speechbrain.utils.run_opts import RunOptions

from wavcube.cli.main import main
from wavcube.data.audio import write_audio
from wavcube.experiment import command_line
from wavcube.experiment.command_line import parse_arguments
from wavcube.features import FeatureFolder
from wavcube.inference import WavCube
from wavcube.testing import tone
from wavcube.utils.precision import settle_precision

BOTH = pytest.mark.parametrize(("has_bf16", "expected"), [(True, "bf16"), (False, "fp32")])
WARNING = "precision bf16 may be slower than fp32 or auto"


@pytest.fixture
def processor(monkeypatch):
    """Function that gives the processor other flags."""

    def fake(has_bf16):
        flags = {"avx2": True, "avx512_bf16": has_bf16, "amx_bf16": False}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags)

    return fake


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return str(random_release(tmp_path_factory.mktemp("release") / "model"))


@pytest.fixture
def recipe(tmp_path):
    """A YAML's path, and function that leaves a run of it behind, begun in a precision."""
    path, folder = tmp_path / "a.yaml", tmp_path / "run"
    path.write_text(f"name: run\noutput_folder: !ref {tmp_path}/<name>\nprecision: auto # or not\n")

    def begin(precision):
        (folder / "stage1" / "save" / "CKPT+1").mkdir(parents=True)
        (folder / "stage1" / "save" / "CKPT+1" / "brain.ckpt").write_text("optimizer_step: 1")
        (folder / "hyperparams.yaml").write_text(f"# of\nmodel: !new:A {{}}\n{precision}")

    return str(path), begin


@BOTH
def test_a_processor_is_asked_and_the_choice_logged_with_its_reason(
    processor, caplog, has_bf16, expected
):
    processor(has_bf16)
    with caplog.at_level(logging.INFO, "wavcube"):
        assert settle_precision("auto", "cpu") == expected
    reason = "multiplies bf16 itself (avx512_bf16)" if has_bf16 else "does not multiply bf16 itself"
    (line,) = caplog.messages
    assert line.startswith(f"precision {expected}: this processor")
    assert reason in line


@pytest.mark.parametrize("flag", ["amx_bf16", "bf16", "sve_bf16"])
def test_other_processors_have_other_flags(monkeypatch, flag):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {flag: True})
    assert settle_precision("auto", "cpu") == "bf16"
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert settle_precision("auto", "cpu") == "fp32"


@BOTH
def test_a_gpu_is_asked_for_what_it_does_not_emulate(monkeypatch, has_bf16, expected):
    asked = []

    def is_supported(including_emulation=True):
        return including_emulation or has_bf16

    monkeypatch.setattr(torch.cuda, "device", lambda device: asked.append(device) or nullcontext())
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    said = []
    assert settle_precision("auto", "cuda:1", said.append) == expected
    assert asked == [torch.device("cuda:1")]
    does = "multiplies" if has_bf16 else "does not multiply"
    assert said == [f"precision {expected}: a GPU {does} bf16 itself"]


@pytest.mark.parametrize("has_bf16", [True, False])
def test_bf16_by_name_is_obeyed_and_warned_of_where_it_is_slow(processor, caplog, has_bf16):
    processor(has_bf16)
    assert settle_precision("bf16", "cpu") == "bf16"
    assert [WARNING in line for line in caplog.messages] == [True] * (not has_bf16)
    assert settle_precision("fp32", "cpu") == "fp32"
    assert settle_precision("fp16", "cpu") == "fp16"
    assert len(caplog.messages) == (not has_bf16)


@BOTH
def test_a_model_is_loaded_in_what_auto_stands_for(processor, caplog, source, has_bf16, expected):
    processor(has_bf16)
    with caplog.at_level(logging.INFO, "wavcube.utils.precision"):
        model = WavCube.from_hparams(source, run_opts={"device": "cpu", "precision": "auto"})
    assert model.precision == expected
    (line,) = [text for text in caplog.messages if text.startswith("precision ")]
    assert line.startswith(f"precision {expected}: ")
    caplog.clear()
    model = WavCube.from_hparams(source, run_opts={"device": "cpu", "precision": "bf16"})
    assert model.precision == "bf16"
    assert len([text for text in caplog.messages if WARNING in text]) == (not has_bf16)
    assert WavCube.from_hparams(source, run_opts={"device": "cpu"}).precision == "fp32"


@BOTH
def test_commands_take_auto(processor, capsys, tmp_path, source, has_bf16, expected):
    processor(has_bf16)
    write_audio(tmp_path / "a.wav", tone(0.3), 16000)
    command = ["encode", str(tmp_path / "a.wav"), "--out", str(tmp_path / "a.safetensors")]
    options = ["--source", source, "--device", "cpu", "--precision", "auto"]
    assert main([*command, *options]) == 0
    assert capsys.readouterr().err.count(f"wavcube: precision {expected}: ") == 1


def extract(folder, out, *options):
    return main(["extract", str(folder), str(out), "--device", "cpu", *options])


@BOTH
def test_features_belong_to_the_job_of_what_auto_stands_for(
    processor, capsys, tmp_path, source, has_bf16, expected
):
    processor(has_bf16)
    write_audio(tmp_path / "speech" / "a.wav", tone(0.3), 16000)
    command = [tmp_path / "speech", tmp_path / "out", "--source", source, "--precision"]
    assert extract(*command, "auto") == 0
    assert capsys.readouterr().err.count(f"wavcube: precision {expected}: ") == 1
    named = {"bf16": "bfloat16", "fp32": "float32"}[expected]
    assert FeatureFolder(tmp_path / "out").description.form.computed_in == named
    assert json.loads((tmp_path / "out" / "job.json").read_text())["form"]["computed_in"] == named
    assert extract(*command, expected) == 0, "the same job"
    processor(not has_bf16)
    capsys.readouterr()
    assert extract(*command, "auto") == 2
    assert f"computed_in is {named} there" in capsys.readouterr().err


def test_what_has_no_matrices_is_extracted_in_float32(processor, capsys, tmp_path):
    processor(True)
    write_audio(tmp_path / "speech" / "a.wav", tone(0.3), 16000)
    options = ["--representation", "mel", "--precision", "auto"]
    assert extract(tmp_path / "speech", tmp_path / "out", *options) == 0
    assert FeatureFolder(tmp_path / "out").description.form.computed_in == "float32"
    assert "precision" not in capsys.readouterr().err


def test_a_warning_of_extract_is_one_line(processor, capsys, tmp_path, source):
    processor(False)
    write_audio(tmp_path / "speech" / "a.wav", tone(0.3), 16000)
    options = ["--source", source, "--precision", "bf16"]
    assert extract(tmp_path / "speech", tmp_path / "out", *options) == 0
    assert capsys.readouterr().err.count(WARNING) == 1


@pytest.mark.parametrize("name", ["wavcube", "wavcube_tiny", "ssl", "acoustic_codec"])
@pytest.mark.parametrize("dry", [[], ["--debug"]])
@BOTH
def test_recipes_of_the_latent_run_in_auto(
    processor, repository, tmp_path, monkeypatch, capsys, name, dry, has_bf16, expected
):
    monkeypatch.chdir(tmp_path)
    processor(has_bf16)
    path = str(repository / "hparams" / f"{name}.yaml")
    _, run_opts, overrides = parse_arguments([path, "--device=cpu", *dry], "")
    assert run_opts["precision"] == expected
    assert "precision" in run_opts.overridden_args
    assert yaml.safe_load(overrides)["precision"] == expected, "what the run's folder keeps"
    assert capsys.readouterr().out.startswith(f"precision {expected}: this processor")


def test_recipes_take_auto_and_names(processor, recipe, capsys, caplog):
    processor(False)
    path, _ = recipe
    for given, expected in (("auto", "fp32"), ("fp32", "fp32"), ("bf16", "bf16")):
        for form in ([f"--precision={given}"], ["--precision", given]):
            _, run_opts, overrides = parse_arguments([path, "--device=cpu", *form], "")
            assert run_opts["precision"] == expected
            assert overrides == f"precision: {expected}"
    assert [WARNING in line for line in caplog.messages] == [True, True]
    capsys.readouterr()
    with pytest.raises(SystemExit):
        parse_arguments([path, "--precision=half"], "")
    assert "'auto'" in capsys.readouterr().err


def test_heads_stay_in_float32_and_take_auto_as_well(processor, repository):
    processor(True)
    path = str(repository / "hparams" / "asr.yaml")
    _, run_opts, overrides = parse_arguments([path, "--device=cpu"], "")
    assert (run_opts["precision"], overrides) == ("fp32", "")
    _, run_opts, overrides = parse_arguments([path, "--device=cpu", "--precision=auto"], "")
    assert (run_opts["precision"], overrides) == ("bf16", "precision: bf16")


@pytest.mark.parametrize("begun", ["bf16", "fp32"])
def test_a_run_goes_on_in_what_it_began_with(processor, recipe, capsys, caplog, begun):
    path, begin = recipe
    begin(f"precision: {begun}")
    processor(begun == "fp32")  # on a machine where auto stands for the other
    _, run_opts, overrides = parse_arguments([path, "--device=cpu"], "")
    assert (run_opts["precision"], overrides) == (begun, f"precision: {begun}")
    assert f"precision {begun}: the run in " in capsys.readouterr().out
    assert [WARNING in line for line in caplog.messages] == [True] * (begun == "bf16")
    named = {"bf16": "fp32", "fp32": "bf16"}[begun]
    assert parse_arguments([path, f"--precision={named}"], "")[1]["precision"] == named


def test_what_a_run_left_without_a_precision_or_a_checkpoint_says_nothing(
    processor, recipe, tmp_path
):
    path, begin = recipe
    processor(True)
    begin("")
    for left in ("", "precision: {cut", "seed: 1"):
        (tmp_path / "run" / "hyperparams.yaml").write_text(left)
        assert parse_arguments([path, "--device=cpu"], "")[1]["precision"] == "bf16"
    (tmp_path / "run" / "hyperparams.yaml").write_text("precision: fp32")
    (tmp_path / "run" / "stage1" / "save" / "CKPT+1" / "brain.ckpt").unlink()
    assert parse_arguments([path, "--device=cpu"], "")[1]["precision"] == "bf16"


def settle_in_turn(path):
    """The second of two processes has a processor of another kind."""
    flags = {"avx512_bf16": os.environ["RANK"] == "0"}
    torch.cpu.get_capabilities = lambda: flags
    options = RunOptions.from_dictionary(OPTIONS)
    run_opts, overrides = command_line._with_precision(path, options, "")
    return {"precision": run_opts["precision"], "overrides": overrides}


def test_all_processes_take_what_the_first_has(recipe, tmp_path):
    ended = in_processes(tmp_path / "r", settle_in_turn, recipe[0], group=False)
    assert ended.results == [{"precision": "bf16", "overrides": "precision: bf16"}] * 2
