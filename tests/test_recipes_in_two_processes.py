"""Recipes as `torchrun --nproc_per_node=2` runs them: by its own agent, without its imports."""

import csv
import json
import re

import pytest
from converters import write_vctk
from enhancers import write_pairs_folder
from processes import run_code
from recognizers import TEXT, spell
from releases import random_release
from separators import write_speech

from wavcube.data.audio import write_audio
from wavcube.release.folder import load_release
from wavcube.testing import tone

pytestmark = pytest.mark.slow

TORCHRUN = """
import os, runpy, sys
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

def run(path, *arguments):
    sys.argv = [path, *arguments]
    sys.path.insert(0, os.path.dirname(path))
    runpy.run_path(path, run_name="__main__")

os.environ["GLOO_SOCKET_IFNAME"] = "lo"
config = LaunchConfig(
    min_nodes=1, max_nodes=1, nproc_per_node=2, rdzv_backend="c10d", run_id="test",
    rdzv_endpoint="localhost:0", local_addr="127.0.0.1", max_restarts=0, start_method="fork",
)
elastic_launch(config, run)(*sys.argv[1:])
"""
MEL = "--representation=!include:representation/mel.yaml"
ALL = ["--device=cpu", "--distributed_backend=gloo", "--warmup=1", "--ckpt_interval_steps=1"]
HEAD = ["--updates=3", "--validate_every=2", "--batch_size=1", "--hidden_dim=8"]
JUDGED = ["--sample_clips=1", "--metrics=[si_sdr]", "--scoring_processes=1"]


def torchrun(repository, folder, script, yaml, *options):
    """Run a recipe in two processes; give how it ended and its folder."""
    recipe = repository / "recipes" / script
    arguments = [recipe, repository / "hparams" / yaml, f"--output_folder={folder / 'run'}"]
    return run_code(TORCHRUN, folder, [*arguments, *ALL, *options]), folder / "run"


def tones(folder):
    for index in range(6):
        write_audio(folder / f"clip{index}.wav", tone(0.6 + 0.1 * index, index), 16000)
    return folder


def words(folder):
    rows = [{"ID": f"{n}", "wav": f"{n}.wav", "wrd": text} for n, text in enumerate([*TEXT, *TEXT])]
    for row in rows:
        write_audio(folder / row["wav"], spell(row["wrd"]), 16000)
    with (folder / "words.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "words.csv"


LATENT = [
    "--model=!include:model/tiny.yaml", "--precision=fp32", "--stage1_updates=3",
    "--stage2_updates=3", "--validate_every=2", "--batch_size=1", "--crop_seconds=0.3",
    "--valid_utterances=3", "--test_utterances=1", "--shortest_test=0.5", *JUDGED,
]  # fmt: skip


def test_the_latent_is_trained_in_both_stages(repository, tmp_path):
    speech = tones(tmp_path / "speech")
    ended, out = torchrun(repository, tmp_path, "LibriSpeech/train.py", "wavcube.yaml", *LATENT,
                          f"--data_folder={speech}")  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    facts = json.loads((out / "metrics.json").read_text())
    assert [stage["updates"] for stage in facts["stages"].values()] == [3, 3]
    lines = (out / "train_log.txt").read_text().splitlines()
    assert [re.search(r"epoch: (\d)", line).group(1) for line in lines] == ["1", "2"] * 2
    assert load_release(out / "release").latent_basis.is_fitted
    assert not list(out.glob("*/save/saving-*"))


def test_a_mistake_is_told_in_one_line(repository, tmp_path):
    ended, out = torchrun(repository, tmp_path, "LibriSpeech/train.py", "wavcube.yaml", *LATENT,
                          "--data_folder=nowhere")  # fmt: skip
    assert ended.returncode != 0
    assert ended.stderr.count("train.py: error: ") == 1
    assert not out.exists()


def enhancement(folder):
    pairs = write_pairs_folder(folder)
    return [MEL, f"--data_folder={pairs}", "--valid_speakers=[p3]", "--test_speakers=[p4]",
            "--valid_utterances=2", "--test_utterances=1", "--shortest_test=0.5",
            "--crop_seconds=0.4", *HEAD, *JUDGED]  # fmt: skip


def separation(folder):
    speech = write_speech(folder)
    return [MEL, f"--data_folder={speech}", "--mixtures={train: null, valid: 1, test: 1}",
            "--crop_seconds=0.4", "--n_fft=512", *HEAD, *JUDGED]  # fmt: skip


def recognition(folder):
    return [MEL, f"--data_folder={words(folder)}", "--projected_dim=8", *HEAD]


def conversion(folder):
    text = (folder.parent / "wavcube.yaml").read_text()
    release = random_release(folder.parent / "release")
    tiny = folder.parent / "tiny.yaml"
    tiny.write_text(re.sub(r"^source: null", f"source: {release}", text, flags=re.MULTILINE))
    return [f"--representation=!include:{tiny}", f"--data_folder={write_vctk(folder)}",
            "--valid_speakers=[p3]", "--test_speakers=[p4, p5]", "--crop_seconds=0.3",
            "--reference_seconds=2", "--copies=1", "--valid_utterances=2", "--valid_lessons=3",
            "--model_dim=8", "--num_layers=1", "--content_dim=4", "--num_heads=2", *HEAD[:3],
            "--sample_clips=1", "--metrics=[mel_cepstral_distortion]", "--scoring_processes=1",
            f"--cache_folder={folder.parent / 'cache'}"]  # fmt: skip


@pytest.mark.parametrize(
    ("script", "yaml", "options"),
    [
        ("LibriSpeech/train_asr.py", "asr.yaml", recognition),
        ("VCTK/train_enhancement.py", "enhancement.yaml", enhancement),
        ("VCTK/train_voice_conversion.py", "voice_conversion.yaml", conversion),
        ("Libri2Mix/train_separation.py", "separation.yaml", separation),
    ],
)
def test_a_head_is_trained(repository, tmp_path, script, yaml, options):
    text = (repository / "hparams" / "representation" / "wavcube.yaml").read_text()
    (tmp_path / "wavcube.yaml").write_text(text)
    (tmp_path / "data").mkdir()
    ended, out = torchrun(repository, tmp_path, script, yaml, *options(tmp_path / "data"))
    assert ended.returncode == 0, ended.stderr
    facts = json.loads((out / "metrics.json").read_text())
    assert facts["training"]["updates"] == 3
    assert load_release(out / "release")
