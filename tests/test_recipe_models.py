"""The model blocks that experiments include."""

import pytest
import torch
from hyperpyyaml import load_hyperpyyaml

from wavcube.experiment.report import Resynthesis, write_samples
from wavcube.latent.parts import LatentParts
from wavcube.release.ssl_folder import write_encoder
from wavcube.testing import tiny_ssl_encoder, tone


def load(repository, name, **overrides):
    with open(repository / "hparams" / "model" / f"{name}.yaml", encoding="utf-8") as file:
        return load_hyperpyyaml(file, overrides)


@pytest.fixture
def encoder_folder(tmp_path):
    write_encoder(tiny_ssl_encoder("wavlm"), tmp_path / "encoder")
    return str(tmp_path / "encoder")


@pytest.mark.filterwarnings("ignore:for .*meta parameter")
def test_the_paper_s_block_has_the_paper_s_size(repository, encoder_folder):
    with torch.device("meta"):  # 300 million parameters that need no memory
        block = load(repository, "paper", ssl_source=encoder_folder, copy_layers=False)
    millions = {
        name: sum(p.numel() for p in block[name].parameters()) / 1e6
        for name in ("decoder", "discriminators")
    }
    assert millions["decoder"] == pytest.approx(302 + 12.8, rel=0.01)
    assert millions["discriminators"] == pytest.approx(41.1 + 1.4, rel=0.01)


def test_the_small_block_fits_any_encoder(repository, encoder_folder):
    block = load(repository, "wavcube", ssl_source=encoder_folder)
    latents, _ = block["lobe"].encode(torch.randn(1, 1600))
    assert latents.shape == (1, 5, block["latent_dim"])


def test_the_bottleneck_starts_as_a_copy_when_asked(repository, encoder_folder):
    for copies in (True, False):
        block = load(repository, "wavcube", ssl_source=encoder_folder, copy_layers=copies)
        # the tiny encoder's heads and inner width are not the block's
        bottleneck = type(block["bottleneck"])(16, 8, num_layers=2, num_heads=2, ffn_dim=32)
        block["lobe"].bottleneck = bottleneck
        parts = LatentParts.from_block(block)
        ours = bottleneck.semantic_encoder.layers[0].feed_forward.output_dense.weight
        theirs = parts.teacher.model.encoder.layers[0].feed_forward.output_dense.weight
        assert ours.equal(theirs) is copies


def test_a_teacher_of_another_kind_is_refused(tmp_path):
    from releases import CARD

    from wavcube.release.folder import write_release
    from wavcube.testing import tiny_ssl_encoder, tiny_wavcube

    write_release(tiny_wavcube(), tmp_path / "release", card=CARD, training_state={})
    for teacher in (tiny_ssl_encoder("hubert"), tiny_ssl_encoder("wavlm", layer=1)):
        block = {"lobe": tiny_wavcube(), "discriminators": None, "encoder": teacher}
        with pytest.raises(ValueError, match="give the encoder that it was made from"):
            LatentParts.from_block(block, tmp_path / "release")


def test_samples_stay_in_their_folder(tmp_path):
    wave = tone(0.5).numpy()
    row = Resynthesis(16000, {"../../evil": wave}, {"../../evil": wave})
    for path in write_samples(tmp_path / "samples", {"stage 1": row}):
        assert path.resolve().parent == tmp_path / "samples"
