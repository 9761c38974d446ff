"""The codec without a semantic part: lengths, training, release."""

import pytest
import torch
from releases import CARD
from speechbrain.dataio.batch import PaddedBatch

from wavcube import WavCube
from wavcube.experiment.report import resynthesize, score_rows
from wavcube.latent.brain import Discriminators, LatentBrain
from wavcube.latent.parts import LatentParts
from wavcube.latent.settings import AcousticSettings, LatentSettings
from wavcube.lobes.acoustic_codec import AcousticCodec, AcousticEncoder
from wavcube.lobes.decoder.convnext import ConvNeXtBackbone
from wavcube.lobes.decoder.discriminators import MultiPeriodDiscriminator
from wavcube.release.folder import load_for_training, load_release, write_release
from wavcube.testing import tiny_acoustic_codec, tiny_decoder, tiny_wavcube, tone

GAN = {"adversarial": 0.1, "feature_matching": 0.1}


def settings(**changes):
    defaults = {"updates": 20, "weights": {"mel": 4.5, **GAN}, "best_metric": "mel"}
    rates = {"lr": 1e-3, "encoder_lr": 1e-3, "discriminator_lr": 1e-3}
    return AcousticSettings(**{**defaults, **rates, **changes})


def discriminators():
    return Discriminators({"period": MultiPeriodDiscriminator((2,), (4, 4))})


def brain_of(model, stage):
    return LatentBrain(
        model,
        stage,
        discriminators(),
        opt_class=torch.optim.AdamW,
        run_opts={"device": "cpu", "noprogressbar": True},
    )


def batch(*lengths):
    return PaddedBatch([{"wav": tone(n / 16000, seed)} for seed, n in enumerate(lengths)])


def test_every_length_comes_back():
    model = WavCube({"wavcube": tiny_acoustic_codec()}, run_opts={"device": "cpu"})
    for samples in (1, 159, 160, 161, 319, 320, 321, 400, 639, 640, 641, 16000, 31999):
        latents, lens = model.encode_batch(torch.randn(1, samples))
        assert latents.shape == (1, -(-samples // model.hop), model.latent_dim)
        assert model.decode_batch(latents, lens, length=samples).shape == (1, samples)


def test_a_batch_that_no_item_fills_comes_back_as_long_as_it_was():
    model = tiny_acoustic_codec()
    wavs, lens = torch.randn(2, 16000), torch.tensor([0.5, 0.6])
    latents, latent_lens = model.encode(wavs, lens)
    assert latents.shape == (2, 50, model.latent_dim)
    assert (latent_lens * 50).round().tolist() == [25, 30]
    audio = model(wavs, lens).audio
    assert audio.shape == wavs.shape
    assert not audio[1, 9600:].any()


def test_training_and_inference_take_one_path():
    model, wavs, lens = tiny_acoustic_codec(), torch.randn(2, 3000), torch.tensor([1.0, 0.7])
    output = model(wavs, lens)
    latents, latent_lens = model.encode(wavs, lens)
    torch.testing.assert_close(output.latents, latents)
    torch.testing.assert_close(output.audio, model.decode(latents, latent_lens, [3000, 2100]))
    assert output.mask.sum(1).tolist() == [10, 7]


def test_parts_that_do_not_fit_are_refused():
    body = ConvNeXtBackbone(16, dim=8, intermediate_dim=8, num_layers=1, upsampling=1)
    with pytest.raises(ValueError, match="4 dimensions"):
        AcousticCodec(AcousticEncoder(body, latent_dim=4, num_mel_bins=8), tiny_decoder())
    fast = AcousticEncoder(body, latent_dim=8, num_mel_bins=16, stacked_frames=1)
    with pytest.raises(ValueError, match=r"160 samples.* 320"):
        AcousticCodec(fast, tiny_decoder())
    with pytest.raises(ValueError, match="upsampling 1"):
        AcousticEncoder(body, latent_dim=8, num_mel_bins=10)


def test_reconstruction_trains_all_of_it():
    brain = brain_of(tiny_acoustic_codec(), settings())
    brain.on_fit_start()
    brain.modules.train()
    before = {name: value.clone() for name, value in brain.model.state_dict().items()}
    for _ in range(3):
        brain.fit_batch(batch(3200, 4800))
    still = {n for n, value in brain.model.state_dict().items() if value.equal(before[n])}
    assert not still
    assert brain.teacher is None
    assert brain.means.mean().keys() == {"loss", "mel", *GAN, "discriminator"}


def test_it_learns():
    brain = brain_of(tiny_acoustic_codec(), settings(updates=60, weights={"mel": 1.0}, lr=5e-3))
    brain.on_fit_start()
    losses = [float(brain.fit_batch(batch(8000))) for _ in range(40)]
    assert losses[-1] < 0.6 * losses[0]


def test_model_and_settings_must_be_of_one_kind():
    semantic = LatentSettings(updates=9, weights={"mel": 45.0, "semantic": 1.0}, lr=1e-3)
    with pytest.raises(ValueError, match="a AcousticCodec do not go together"):
        LatentBrain(tiny_acoustic_codec(), semantic)
    with pytest.raises(ValueError, match="a WavCube do not go together"):
        LatentBrain(tiny_wavcube(), settings(), discriminators())
    for wrong in ({"weights": {"mel": 1, "semantic": 1}}, {"weights": GAN}):
        with pytest.raises(ValueError, match=r"semantic|mel"):
            settings(**wrong)
    for wrong in ({"train_encoder": "none"}, {"detach_latent": True}, {"encoder_lr": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            settings(**wrong)


def test_a_release_of_it_loads_and_can_be_trained_on(tmp_path):
    torch.manual_seed(3)
    block = {"lobe": tiny_acoustic_codec(), "discriminators": discriminators()}
    parts = LatentParts.from_block(block)
    assert parts.teacher is None
    state = parts.training_state()
    write_release(parts.model, tmp_path / "release", card=CARD, training_state=state)
    wav = tone(0.5)[None]
    expected = parts.model.encode(wav)[0]
    # it fuses what the others keep apart for gradients
    user = WavCube.from_hparams(source=tmp_path / "release", run_opts={"device": "cpu"})
    torch.testing.assert_close(user.encode_batch(wav)[0], expected, atol=1e-5, rtol=1e-5)
    assert load_release(tmp_path / "release").encode(wav)[0].equal(expected)
    model, discriminator_state = load_for_training(tmp_path / "release")
    assert isinstance(model, AcousticCodec)
    assert discriminator_state.keys() == state.keys()
    fresh = {"lobe": tiny_acoustic_codec(), "discriminators": discriminators()}
    again = LatentParts.from_block(fresh, tmp_path / "release")
    assert again.model.encode(wav)[0].equal(expected)
    other = {"lobe": tiny_wavcube(), "discriminators": None, "encoder": tiny_wavcube().encoder}
    with pytest.raises(ValueError, match="AcousticCodec, the configuration trains a WavCube"):
        LatentParts.from_block(other, tmp_path / "release")


def test_its_report_has_no_columns_of_features():
    clips = [{"id": f"clip{index}", "wav": tone(0.5, index)} for index in range(2)]
    made = resynthesize(tiny_acoustic_codec(), None, clips, progress=False)
    assert made.features == {}
    assert made.copies["clip1"].shape == clips[1]["wav"].shape
    table = score_rows({"codec": made}, ["mel_distance"], progress=False)
    assert list(table["codec"]) == ["mel_distance"]
