"""`wavcube inspect`: the picture, the scores, and what it says about mistakes."""

import sys

import numpy as np
import pytest
import soundfile
import torch
from releases import random_release, tree

from wavcube import WavCube
from wavcube.cli.main import main
from wavcube.inference.inspection import inspect_file, principal_components
from wavcube.testing import tone

FAST = {"mel_distance", "si_sdr", "pesq_wb"}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return str(random_release(tmp_path_factory.mktemp("release") / "model"))


@pytest.fixture(scope="module")
def model(source):
    return WavCube.from_hparams(source, run_opts={"device": "cpu"})


@pytest.fixture(autouse=True)
def _few_metrics(monkeypatch):
    from wavcube.inference import inspection

    few = {key: metric for key, metric in inspection.METRICS.items() if key in FAST}
    monkeypatch.setattr(inspection, "METRICS", few)


@pytest.fixture
def clip(tmp_path):
    # a name that matplotlib would read as a formula, and fail
    path = tmp_path / "a$_b^$.wav"
    soundfile.write(path, tone(0.5).numpy(), 16000)
    return path


def test_an_inspection_is_what_the_model_does(model, clip):
    inspection = inspect_file(model, clip)
    torch.testing.assert_close(inspection.latents, model.encode_file(clip)[0])
    torch.testing.assert_close(inspection.resynthesis, model.resynthesize_file(clip)[0])
    assert len(inspection.waveform) == len(inspection.resynthesis) == 8000
    assert inspection.scores.keys() | inspection.scores.failures.keys() == FAST
    original, copy = inspection.log_mels()
    assert original.shape == copy.shape
    distance = float((original - copy).abs().mean())
    assert inspection.scores["mel_distance"] == pytest.approx(distance, rel=1e-4)


def test_the_command_writes_a_picture_and_prints_scores(source, model, clip, tmp_path, capsys):
    assert main(["inspect", str(clip), "--source", source]) == 0
    said = capsys.readouterr().out
    scores = inspect_file(model, clip).scores
    assert f"{scores['mel_distance']:.3f}" in said
    assert f"{scores['si_sdr']:.3f}" in said
    assert "16000 Hz" in said
    picture = clip.with_suffix(".png")
    assert said.endswith(f"wrote {picture}\n")
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    other = tmp_path / "new" / "other.png"
    assert main(["inspect", str(clip), "--source", source, "--out", str(other)]) == 0
    assert other.read_bytes() == picture.read_bytes()


def test_the_picture_shows_every_part(model, clip):
    from wavcube.inference.inspection import draw

    inspection = inspect_file(model, clip)
    figure = draw(inspection)
    panels = figure.axes[:5]
    lines = panels[0].get_lines()
    np.testing.assert_array_equal(lines[0].get_ydata(), inspection.waveform)
    np.testing.assert_array_equal(lines[1].get_ydata(), inspection.resynthesis)
    for panel, expected in zip(panels[1:3], inspection.log_mels(), strict=True):
        np.testing.assert_array_equal(panel.images[0].get_array(), expected)
    assert panels[1].images[0].get_clim() == panels[2].images[0].get_clim()
    np.testing.assert_array_equal(panels[3].images[0].get_array(), inspection.latents.T)
    assert panels[3].images[0].get_extent() == [0, 0.5, 0, model.latent_dim]
    tracks, _ = principal_components(inspection.latents)
    np.testing.assert_array_equal(panels[4].get_lines()[0].get_ydata(), tracks[:, 0])
    assert panels[4].get_lines()[0].get_xdata()[[0, -1]].tolist() == pytest.approx([0.01, 0.49])
    assert panels[0].get_xlim() == (0, 0.5)


@pytest.mark.parametrize("samples", [1, 320, 321])
def test_the_shortest_and_silent_files_have_a_picture(model, tmp_path, samples):
    soundfile.write(tmp_path / "a.wav", np.zeros(samples), 16000)
    inspection = inspect_file(model, tmp_path / "a.wav")
    inspection.write_png(tmp_path / "a.png")
    assert "silent" in inspection.format()
    assert len(inspection.format().splitlines()) == len(FAST)


def test_principal_components_are_those_of_the_covariance():
    latents = torch.randn(40, 6) @ torch.diag(torch.tensor([5.0, 3, 2, 1, 0.5, 0.1])) + 7
    tracks, shares = principal_components(latents)
    spectrum = torch.linalg.eigvalsh(torch.cov(latents.double().T)).flip(0)
    torch.testing.assert_close(shares, (spectrum / spectrum.sum())[:3])
    covariance = torch.cov(tracks.T)
    torch.testing.assert_close(covariance, torch.diag(spectrum[:3]), atol=1e-6, rtol=1e-6)
    mirrored, _ = principal_components(-latents)
    torch.testing.assert_close(mirrored, -tracks)  # the sign is fixed by the direction, not by luck


def test_what_does_not_vary_has_no_component():
    tracks, shares = principal_components(torch.ones(5, 4))
    assert tracks.abs().max() == 0
    assert shares.tolist() == [0, 0, 0]
    assert principal_components(torch.ones(1, 4))[0].shape == (1, 1)


def test_mistakes_are_one_line_and_write_nothing(source, clip, tmp_path, capsys):
    taken = tmp_path / "taken.png"
    taken.write_text("mine")
    (tmp_path / "noise.wav").write_text("not a sound")
    before = tree(tmp_path)
    calls = {
        "must end in .png": [clip, "--source", source, "--out", tmp_path / "a.pdf"],
        "--overwrite": [clip, "--source", source, "--out", taken],
        "gone.wav": [tmp_path / "gone.wav", "--source", source],
        "not an audio file": [tmp_path / "noise.wav", "--source", source],
        "no release": [clip, "--source", tmp_path / "gone"],
    }
    for word, arguments in calls.items():
        assert main(["inspect", *map(str, arguments)]) == 2
        said = capsys.readouterr()
        assert word in said.err
        assert said.err.count("\n") == 1
        assert said.out == ""
    assert tree(tmp_path) == before


def test_without_matplotlib_the_extra_is_named(source, clip, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    # said before the long work, not after it
    monkeypatch.setattr(WavCube, "from_hparams", lambda *_, **__: 1 / 0)
    assert main(["inspect", str(clip), "--source", source]) == 2
    said = capsys.readouterr()
    assert "pip install 'wavcube[recipes]'" in said.err
    assert said.err.count("\n") == 1
    assert not clip.with_suffix(".png").exists()
