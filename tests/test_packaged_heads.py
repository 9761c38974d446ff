"""The trained heads of the package load without a source, and do what they are for."""

import os
import shutil

import pytest
import torch

from wavcube.cli import main
from wavcube.data.audio import read_audio, write_audio
from wavcube.data.embedded import make_embedded_corpus
from wavcube.export import read_card
from wavcube.inference import WavCubeEnhancer
from wavcube.metrics import score_pair
from wavcube.release.source import packaged_release

CPU = {"device": "cpu"}
HEADS = ("enhancement_tiny",)
LARGEST = 30e6  # bytes of all heads together


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """Three seconds of a voice that no head was trained on `[T]`."""
    corpus = make_embedded_corpus(tmp_path_factory.mktemp("speech"), train_minutes=1)
    return read_audio(sorted((corpus / "test-clean").rglob("*.flac"))[0], 16000)[:48000]


def test_the_heads_are_small_and_say_what_they_are_made_of():
    folders = [packaged_release(name) for name in HEADS]
    assert sum(path.stat().st_size for folder in folders for path in folder.iterdir()) < LARGEST
    for folder in folders:
        card = read_card(folder)
        licences = {source.license for source in (*card.data, *card.upstream)}
        assert licences, card.title
        assert not any("unknown" in licence.lower() for licence in licences)
        assert "CC BY 4.0" in card.weights_license


def test_the_enhancer_takes_noise_away(speech, tmp_path):
    torch.manual_seed(0)
    noise = torch.randn(len(speech))
    noisy = speech + noise * speech.norm() / noise.norm() * 10 ** (-5 / 20)  # 5 dB
    enhancer = WavCubeEnhancer.from_hparams(run_opts=CPU)
    clean = enhancer.enhance_batch(noisy[None])[0]
    before, after = (
        score_pair(speech.numpy(), wav.numpy(), 16000, ["si_sdr", "pesq_wb"])
        for wav in (noisy, clean)
    )
    assert after["si_sdr"] > before["si_sdr"] + 3
    assert after["pesq_wb"] > before["pesq_wb"]
    write_audio(tmp_path / "noisy.wav", noisy / noisy.abs().max(), 16000)
    assert main(["enhance", str(tmp_path / "noisy.wav"), "--out", str(tmp_path / "out.wav")]) == 0
    assert len(read_audio(tmp_path / "out.wav", 16000)) == len(noisy)


@pytest.mark.parametrize("name", HEADS)
def test_a_head_loads_from_a_read_only_folder_that_was_moved(name, tmp_path):
    folder = shutil.copytree(packaged_release(name), tmp_path / "moved")
    for path in folder.iterdir():
        path.chmod(0o444)
    os.chmod(folder, 0o555)
    try:
        assert WavCubeEnhancer.from_hparams(folder, run_opts=CPU).sample_rate == 16000
    finally:
        os.chmod(folder, 0o755)
