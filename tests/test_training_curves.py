"""The picture of a run's curves."""

import pytest
from torch.utils.tensorboard import SummaryWriter

from benchmarks.training_curves import draw, main, read_stage


@pytest.fixture
def run(tmp_path):
    for name, first in (("stage1", 2.0), ("stage2", 1.0)):
        with SummaryWriter(str(tmp_path / name / "tensorboard")) as writer:
            for update in (1, 2, 3):
                writer.add_scalar("train/mel", first / update, update)
                writer.add_scalar("learning rate/generator", 0.1, update)
            writer.add_scalar("valid/mel", first, 3)
            writer.add_scalar("valid/cosine", 0.5, 3)
    return tmp_path


def test_terms_and_their_points(run):
    curves = read_stage(run / "stage1" / "tensorboard")
    assert curves.keys() == {"mel", "cosine"}
    assert curves["mel"]["train"] == [(1, 2.0), (2, 1.0), (3, pytest.approx(2 / 3))]
    assert curves["cosine"] == {"valid": [(3, 0.5)]}


def test_stages_follow_one_another(run):
    stages = {name: read_stage(run / name / "tensorboard") for name in ("stage1", "stage2")}
    mel, cosine, empty = draw(stages).axes
    assert (mel.get_title(), cosine.get_title()) == ("mel", "cosine")
    trained = [line.get_xdata() for line in mel.lines if line.get_label() != "valid"]
    assert [1, 2, 3] in [list(x) for x in trained]
    assert [4, 5, 6] in [list(x) for x in trained]
    assert not empty.axison


def test_the_command_writes_a_picture_or_says_why_not(run, tmp_path, capsys):
    main([str(run), str(tmp_path / "curves.png")])
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path / "nowhere"), str(tmp_path / "other.png")])
    assert stopped.value.code == 2
    assert "no stage with a tensorboard folder" in capsys.readouterr().err
