"""The trained heads of the package load without a source, and do what they are for."""

import itertools
import os
import shutil

import pytest
import torch

from wavcube.cli.main import main
from wavcube.data.audio import read_audio, write_audio
from wavcube.data.synthetic import make_synthetic_corpus
from wavcube.inference import (
    WavCubeASR,
    WavCubeEnhancer,
    WavCubeSeparator,
    WavCubeVoiceConverter,
)
from wavcube.metrics import score_pair
from wavcube.metrics.speaker import speaker_similarity
from wavcube.release.folder import read_card
from wavcube.release.source import packaged_release
from wavcube.tasks.recognition.task import count_errors, new_counts

CPU = {"device": "cpu"}
LOADERS = (WavCubeASR, WavCubeEnhancer, WavCubeSeparator, WavCubeVoiceConverter)
HEADS = tuple(loader.PACKAGED for loader in LOADERS)
LARGEST = 30e6  # bytes of all heads together


@pytest.fixture(scope="module")
def voices(tmp_path_factory):
    """Utterances `[T]` with their words, of voices that no head was trained on, by speaker."""
    corpus = make_synthetic_corpus(tmp_path_factory.mktemp("speech"), train_minutes=1)
    said = {}
    for path in sorted((corpus / "test-clean").rglob("*.trans.txt")):
        for line in path.read_text(encoding="utf-8").splitlines():
            name, _, words = line.partition(" ")
            wav = read_audio(path.with_name(f"{name}.flac"), 16000)
            said.setdefault(path.parts[-3], []).append((wav, words))
    return list(said.values())


@pytest.fixture(scope="module")
def speech(voices):
    """Three seconds of one of them."""
    return voices[0][0][0][:48000]


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


def test_the_recogniser_reads_most_letters_of_synthetic_speech(voices):
    recognizer = WavCubeASR.from_hparams(run_opts=CPU)
    errors = new_counts()
    for number, utterances in enumerate(voices):
        wav, words = utterances[0]
        count_errors(errors, [str(number)], recognizer.transcribe_batch(wav[None]), [words])
    assert errors["cer"].summarize("error_rate") < 50


def test_the_separator_takes_two_voices_apart(voices):
    separator = WavCubeSeparator.from_hparams(run_opts=CPU)
    gains = []
    for one, other in itertools.pairwise(utterances[0][0][:48000] for utterances in voices):
        size = min(len(one), len(other))
        sources = [wav[:size] / wav[:size].norm() for wav in (one, other)]
        mixture = sum(sources)
        estimates = separator.separate_batch(mixture[None])[0]
        scores = [
            [score_pair(s.numpy(), e.numpy(), 16000, ["si_sdr"])["si_sdr"] for e in estimates.T]
            for s in sources
        ]
        (a, b), (c, d) = scores
        before = [score_pair(s.numpy(), mixture.numpy(), 16000, ["si_sdr"]) for s in sources]
        gains.append((max(a + d, b + c) - sum(score["si_sdr"] for score in before)) / 2)
    assert sum(gains) / len(gains) > 2


def test_the_converter_speaks_in_the_other_voice(voices):
    pytest.importorskip("resemblyzer")
    converter = WavCubeVoiceConverter.from_hparams(run_opts=CPU)
    nearer = []
    for source, target in itertools.pairwise(voices):
        reference = torch.cat([wav for wav, _ in target[1:]])[: 20 * 16000]
        converted = converter.convert_batch(source[0][0][None], reference[None])[0]
        to_source, to_target = (
            speaker_similarity(wav.numpy(), converted.numpy(), 16000)
            for wav in (source[1][0], target[0][0])
        )
        nearer.append(to_target > to_source)
    assert sum(nearer) > len(nearer) / 2


@pytest.mark.parametrize("loader", LOADERS, ids=HEADS)
def test_a_head_loads_from_a_read_only_folder_that_was_moved(loader, tmp_path):
    folder = shutil.copytree(packaged_release(loader.PACKAGED), tmp_path / "moved")
    for path in folder.iterdir():
        path.chmod(0o444)
    os.chmod(folder, 0o555)
    try:
        assert loader.from_hparams(folder, run_opts=CPU).sample_rate == 16000
    finally:
        os.chmod(folder, 0o755)
