"""Releases of heads: what is stored, what is named instead, and what is refused."""

import json

import pytest
import torch
from recognizers import CARD, random_recognizer, recognizer_release
from releases import random_release, tree
from safetensors.torch import load_file

from wavcube import WavCube
from wavcube.inference import WavCubeASR
from wavcube.metrics import Summary
from wavcube.release.config_file import build, release_config, release_hash
from wavcube.release.folder import export_run, load_release, write_release
from wavcube.release.source import packaged_release
from wavcube.representations import (
    CodecRepresentation,
    LatentRepresentation,
    MelRepresentation,
    PackagedLatent,
    PackagedSSL,
    SSLRepresentation,
)
from wavcube.tasks.run import describe_task
from wavcube.testing import tiny_ssl_encoder, tiny_wavcube, tone

CPU = {"device": "cpu"}
CODEC = {"model_type": "encodec", "num_filters": 2, "hidden_size": 8, "codebook_size": 8}
REPRESENTATIONS = {
    "mel": lambda: MelRepresentation(num_mel_bins=8),
    "ssl": lambda: SSLRepresentation(tiny_ssl_encoder()),
    "latent": lambda: LatentRepresentation(tiny_wavcube()),
    "codec": lambda: CodecRepresentation(CODEC),
    "packaged latent": PackagedLatent,
    "packaged ssl": PackagedSSL,
}


@pytest.mark.parametrize("kind", REPRESENTATIONS)
def test_a_head_on_any_representation_is_released_and_loaded_bit_for_bit(tmp_path, kind):
    model = random_recognizer(7, REPRESENTATIONS[kind]())
    folder = write_release(model, tmp_path / "model", card=CARD)
    loaded = load_release(folder)
    assert release_config(loaded) == release_config(model)
    assert release_hash(loaded) == release_hash(model)
    wavs = tone(0.4, sample_rate=model.sample_rate)[None]
    with torch.no_grad():
        torch.testing.assert_close(loaded(wavs)[0], model(wavs)[0])
    stored = load_file(folder / "model.safetensors")
    names_model = any(name.startswith("representation.model.") for name in stored)
    assert names_model == (kind in ("ssl", "latent", "codec"))
    assert ("representation.mix.logits" in stored) == ("ssl" in kind)


def test_a_packaged_model_is_named_with_its_hash():
    config = random_recognizer(7, PackagedLatent()).config()["representation"]
    assert config == {
        "class": "PackagedLatent",
        "name": "wavcube_tiny",
        "model_hash": WavCube.from_hparams(run_opts=CPU).latent_hash,
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_hash": "0" * 64}, "made for model 000000000000.*install the version of wavcube"),
        ({"name": "../../etc"}, r"no model '../../etc'; there is \['wavcube_tiny'\]"),
    ],
)
def test_another_packaged_model_is_refused(changes, message):
    config = release_config(random_recognizer(7, PackagedLatent()))
    config["representation"].update(changes)
    with pytest.raises(ValueError, match=message):
        build(config)


@pytest.mark.parametrize(
    ("representation", "source"),
    [(LatentRepresentation.from_release, PackagedLatent),
     (SSLRepresentation.from_pretrained, PackagedSSL)],
)  # fmt: skip
def test_only_what_stays_as_it_is_packaged_is_named(representation, source):
    assert type(representation()) is source
    tuned = representation(unfreeze_at=3, lr=1e-4)
    assert type(tuned) is not source
    assert any(name.startswith("model.") for name in tuned.state_dict())


def test_a_release_names_its_class_and_its_files(tmp_path):
    folder = recognizer_release(tmp_path / "model")
    card = (folder / "README.md").read_text()
    assert "from wavcube.inference import WavCubeASR" in card
    assert 'model.transcribe_file("speech.wav")' in card
    assert "| representation | MelRepresentation |" in card
    (name,) = json.loads((folder / "config.json").read_text())["files"]
    assert (folder / name).is_file()


def test_each_class_loads_its_own_releases_only(tmp_path):
    with pytest.raises(ValueError, match="is not of a WavCube: load it with WavCubeASR"):
        WavCube.from_hparams(recognizer_release(tmp_path / "asr"), run_opts=CPU)
    with pytest.raises(ValueError, match="is not of a WavCubeASR: load it with WavCube"):
        WavCubeASR.from_hparams(random_release(tmp_path / "latent"), run_opts=CPU)


def test_loading_writes_nothing(tmp_path):
    folder = recognizer_release(tmp_path / "model")
    before = tree(tmp_path)
    WavCubeASR.from_hparams(folder, run_opts=CPU)
    assert tree(tmp_path) == before


def test_a_release_without_its_tokenizer_is_refused(tmp_path):
    folder = recognizer_release(tmp_path / "model")
    next(folder.glob("*.model")).unlink()
    with pytest.raises(FileNotFoundError, match=r"it has no \d+_char\.model"):
        WavCubeASR.from_hparams(folder, run_opts=CPU)


def test_a_broken_weight_is_refused(tmp_path):
    folder = recognizer_release(tmp_path / "model")
    other = write_release(random_recognizer(5), tmp_path / "other", card=CARD)
    (folder / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"head\.output\.weight has size"):
        WavCubeASR.from_hparams(folder, run_opts=CPU)


def test_files_of_a_config_stay_in_the_release(tmp_path):
    recognizer_release(tmp_path / "run" / "release")
    path = tmp_path / "run" / "release" / "config.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "files": ["../secret"]}))
    with pytest.raises(ValueError, match="files that are not its own"):
        export_run(tmp_path / "run", tmp_path / "out", dtype=torch.float16)


def test_a_run_of_a_head_is_exported_in_half_precision(tmp_path):
    recognizer_release(tmp_path / "run" / "release", PackagedLatent())
    out = export_run(tmp_path / "run", tmp_path / "out", dtype=torch.float16)
    whole = WavCubeASR.from_hparams(tmp_path / "run" / "release", run_opts=CPU)
    half = WavCubeASR.from_hparams(out, run_opts=CPU)
    wavs = tone(0.5)[None]
    probabilities = [model.mods.model(wavs)[0] for model in (whole, half)]
    torch.testing.assert_close(*probabilities, atol=1e-2, rtol=0)
    assert len(half.tokens) == len(whole.tokens)


@pytest.mark.parametrize(
    ("data_folder", "commercial", "licence"),
    [(None, "yes", "Apache-2.0"), ("mine", "unclear", "as far as all that it was made of allows")],
)
def test_the_card_says_what_the_parts_allow(data_folder, commercial, licence):
    given = {"data_folder": data_folder, "training_folders": [], "add_synthetic": False}
    given |= {"pretrained": None, "card": None}
    model = random_recognizer(7, PackagedLatent())
    table = {"trained": {"WER": Summary(12.0, None, None, 3)}}
    card = describe_task(model, given, table, {"title": "T", "summary": "S."})
    assert (card.commercial_use, card.weights_license[: len(licence)]) == (commercial, licence)
    assert "WavCube-tiny" in [source.name for source in card.upstream]
    assert card.results == {"trained": {"WER": 12.0}}
    said = describe_task(model, {**given, "card": {"title": "U"}}, table, {"summary": "S."})
    assert said.title == "U", "the user has the last word"


def test_a_model_that_the_package_lacks_is_said_to_be_missing():
    with pytest.raises(FileNotFoundError, match=r"without the model 'none'.*by its recipe"):
        packaged_release("none")
