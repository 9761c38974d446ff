"""The small model in the package: its files, its card, and what it makes of speech."""

import shutil

import pytest
import torch
from packaged_golden import GOLDEN, outputs
from releases import tree
from safetensors import safe_open
from safetensors.torch import load_file

from wavcube import WavCube
from wavcube.cli.main import main
from wavcube.data.audio import read_audio, write_audio
from wavcube.metrics import score_pair
from wavcube.release.folder import load_for_training
from wavcube.release.source import packaged_model
from wavcube.testing import tone

CPU = {"device": "cpu"}


@pytest.fixture(scope="module")
def packaged():
    return WavCube.from_hparams(run_opts=CPU)


def test_files_are_small_half_precision_and_without_discriminators():
    files = list(packaged_model().iterdir())
    assert sum(path.stat().st_size for path in files) <= 40e6
    for path in packaged_model().glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}
            assert not any(name.startswith("discriminators") for name in file.keys())


def test_card_names_every_corpus_and_licence():
    card = (packaged_model() / "README.md").read_text(encoding="utf-8")
    for name in ("LibriSpeech", "LJSpeech", "VCTK", "synthetic speech"):
        assert name in card
    for licence in ("Apache-2.0", "CC BY 4.0", "public domain"):
        assert licence in card


def test_latents_and_waveform_are_those_noted_down(packaged):
    golden = load_file(GOLDEN)
    with safe_open(GOLDEN, framework="pt") as file:
        made_with = file.metadata()
    for name, made in outputs(packaged, golden["speech"]).items():
        wrong = (made - golden[name]).norm() / golden[name].norm()
        assert wrong < 1e-4, f"{name} of {made_with} is {float(wrong):.1e} away"


def test_it_loads_from_a_folder_elsewhere_and_leaves_it_as_it_was(packaged, tmp_path):
    moved = shutil.copytree(packaged_model(), tmp_path / "elsewhere")
    before = tree(tmp_path)  # not chmod, which root may pass over
    wavs = tone(0.5)[None]
    expected = packaged.encode_batch(wavs, sample_rate=16000)[0]
    model = WavCube.from_hparams(moved, run_opts=CPU)
    torch.testing.assert_close(model.encode_batch(wavs, sample_rate=16000)[0], expected)
    assert tree(tmp_path) == before


def test_commands_take_it_by_default(tmp_path):
    write_audio(tmp_path / "me.wav", tone(0.5), 16000)
    copy = tmp_path / "copy.wav"
    assert main(["resynth", str(tmp_path / "me.wav"), "--out", str(copy), "--device", "cpu"]) == 0
    assert len(read_audio(copy, 16000)) == len(read_audio(tmp_path / "me.wav", 16000))


def test_it_can_be_fine_tuned():
    model, discriminators = load_for_training(packaged_model())
    latents, lens = model.eval().encode(tone(0.2)[None])
    assert model.semantic(latents, lens).shape == (1, 10, model.encoder.dim)
    assert discriminators == {}


@pytest.mark.timeout(300)
def test_real_voices_are_understandable_and_their_own(packaged, shared):
    paths = sorted((shared / "data" / "LibriSpeech" / "test-other").rglob("*.flac"))[::17]
    scores, metrics = [], ("stoi", "speaker_similarity")
    for path in paths:
        speech = read_audio(path, 16000)[: 6 * 16000]
        latents, lens = packaged.encode_batch(speech[None], sample_rate=16000)
        copy = packaged.decode_batch(latents, lens, length=len(speech))[0]
        scores.append(score_pair(speech.numpy(), copy.numpy(), 16000, metrics))
    mean = {name: sum(s[name] for s in scores) / len(scores) for name in scores[0]}
    assert mean["stoi"] >= 0.88
    assert mean["speaker_similarity"] >= 0.85
