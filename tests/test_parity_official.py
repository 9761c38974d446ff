"""Our numbers against the research code's, through the folder that the converter makes.

The golden sets and their tolerances are described in the README beside them. Stage-1 set C has the
variational bottleneck; stage-2 set A the plain one.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from wavcube.lobes.wavcube import WavCube
from wavcube.losses import MelLoss, kl_divergence, semantic_loss
from wavcube.official.convert import convert_official
from wavcube.official.names import translate
from wavcube.release.folder import load_for_training, load_release
from wavcube.release.ssl_folder import load_encoder

LATENT, AUDIO, INSIDE = 2e-5, 5e-6, 5e-5
LOSS = 1e-5
CHECKPOINTS = {"A": "wavcube_stage2.ckpt", "C": "wavcube_stage1.ckpt"}


@dataclass
class Golden:
    """A golden set and the release made of its checkpoint."""

    name: str
    folder: Path
    release: Path
    arrays: dict[str, np.ndarray]

    @property
    def stage(self) -> int:
        return 2 if self.name == "A" else 1

    def __getitem__(self, name: str) -> Tensor:
        return torch.from_numpy(self.arrays[name])


@pytest.fixture(scope="module", params=["A", "C"])
def golden(request, shared, tmp_path_factory):
    folder = shared / "goldens" / f"golden_{request.param}"
    release = tmp_path_factory.mktemp("converted") / request.param
    checkpoint = folder / CHECKPOINTS[request.param]
    convert_official(checkpoint, folder / "config_ext.yaml", release, "wavlm_tiny")
    with np.load(folder / "io.npz") as arrays:
        return Golden(request.param, folder, release, dict(arrays))


@pytest.fixture(scope="module")
def model(golden):
    return load_release(golden.release)


def assert_near(ours: Tensor, theirs: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(ours, theirs.to(ours.dtype), atol=tolerance, rtol=0)


def clips(golden: Golden) -> list[str]:
    return [name.removeprefix("wav_") for name in golden.arrays if name.startswith("wav_")]


@torch.no_grad()
def test_latents(golden, model):
    assert {"0", "1"} | ({"long"} if golden.name == "A" else set()) == set(clips(golden))
    for clip in clips(golden):
        latents, lens = model.encode(golden[f"wav_{clip}"][None])
        # the variational model's golden latent holds noise; ours is the mean
        expected = golden[f"{'mu' if golden.stage == 1 else 'latent'}_{clip}"]
        assert latents.shape == expected.shape
        assert lens.tolist() == [1.0]
        assert_near(latents, expected, LATENT)


@torch.no_grad()
def test_latents_in_a_padded_batch(golden, model):
    """The research code cannot do this; its result alone is what ours gives in company."""
    wavs = torch.nn.utils.rnn.pad_sequence([golden["wav_0"], golden["wav_1"]], True, 3.0)
    samples = torch.tensor([len(golden["wav_0"]), len(golden["wav_1"])])
    latents, _ = model.encode(wavs, samples / wavs.shape[1])
    for index, row in enumerate(latents):
        expected = golden[f"{'mu' if golden.stage == 1 else 'latent'}_{index}"][0]
        assert_near(row[: len(expected)], expected, 1e-4)


@torch.no_grad()
def test_inside_the_encoder(golden, model):
    for clip in ("0", "1"):
        wav = golden[f"wav_{clip}"][None]
        samples, frames = (
            torch.tensor([wav.shape[1]]),
            torch.tensor([model.num_frames(wav.shape[1])]),
        )
        assert_near(
            model.encoder.prepare(wav, samples, frames), golden[f"input_values_{clip}"], LATENT
        )
        feature = model.features(wav).feature
        assert_near(feature, golden[f"wavlm_hidden_sel_{clip}"], LATENT)
        side = model.bottleneck.semantic_encoder
        assert_near(side.layers(feature), golden[f"enc_transformer_out_{clip}"], LATENT)
        if golden.stage == 1:
            _, log_variance = model.bottleneck.posterior(feature)
            assert_near(log_variance, golden[f"log_var_{clip}"], LATENT)


@torch.no_grad()
def test_decoded_audio(golden, model):
    for clip in clips(golden):
        latents = golden[f"{'mu' if golden.stage == 1 else 'latent'}_{clip}"]
        assert_near(model.decode(latents), golden[f"recon_{clip}_fp32"], AUDIO)


@torch.no_grad()
def test_audio_to_audio_has_the_length_of_the_input_and_a_silent_tail(golden, model):
    wav = golden["wav_0"]
    latents, lens = model.encode(wav[None])
    restored = model.decode(latents, lens, length=len(wav))
    expected = golden["recon_0_fp32"]
    assert restored.shape == (1, len(wav))
    assert_near(restored[:, : expected.shape[1]], expected, INSIDE)
    assert restored[:, expected.shape[1] :].abs().max() == 0


@torch.no_grad()
def test_inside_the_decoder(golden, model):
    backbone, head = model.decoder.backbone, model.decoder.head
    for clip in ("0", "1"):
        latents = golden[f"{'mu' if golden.stage == 1 else 'latent'}_{clip}"]
        name = "upsample_out_{}" if golden.name == "A" else "upsample_out_{}_fp32"
        assert_near(backbone.embed(latents).mT, golden[name.format(clip)], INSIDE)
        hidden = backbone.decode_causally(latents)
        assert_near(hidden[0], golden[f"decoder_ln_out_{clip}_fp32"], INSIDE)
        coarse = backbone.upsampler(hidden)
        assert_near(coarse, golden[f"coarse_mel_{clip}_fp32"], INSIDE)
        if golden.name == "A":
            refined = backbone.vocoder(coarse)
            assert_near(refined[0], golden[f"vocoder_ln_out_{clip}_fp32"], INSIDE)
            assert_near(head.out(refined), golden[f"head_out_{clip}_fp32"], INSIDE)


@dataclass
class Step:
    """One training step's terms, model and target."""

    model: WavCube
    latents: Tensor
    audio: Tensor
    terms: dict[str, Tensor]
    total: Tensor


@pytest.fixture(scope="module")
def step(golden):
    """Loss of the golden batch, with gradients.

    The research code normalises both clips as one signal, so the batch that it normalised goes in
    below our own normalisation, which would treat each clip by itself.
    """
    model, _ = load_for_training(golden.release)
    model.eval()
    teacher = load_encoder(golden.folder / "wavlm_tiny").eval()
    model.encoder.do_normalize = teacher.do_normalize = False
    model.encoder.set_trainable("all" if golden.stage == 2 else "none")
    out = model(golden["train_input_values"], detach_latent=golden.stage == 1)
    frames = torch.tensor([model.num_frames(golden["train_wav"].shape[1])] * 2)
    with torch.no_grad():
        samples = torch.tensor([golden["train_wav"].shape[1]] * 2)
        target = teacher(golden["train_input_values"], samples, frames).feature
    terms = {
        "mel": MelLoss(model.sample_rate)(out.audio, golden["train_wav"]),
        "recon": semantic_loss(out.feature_hat, target),
    }
    weights = {"mel": 4.5 if golden.stage == 2 else 45.0, "recon": 1.0}
    if golden.stage == 2:
        terms["ssl"], weights["ssl"] = semantic_loss(out.feature, target), 1.0
    else:
        terms["kl"], weights["kl"] = kl_divergence(*out.posterior), 1e-4
    total = sum(weights[name] * term for name, term in terms.items())
    total.backward()
    terms = {name: term.detach() for name, term in terms.items()}
    return Step(model, out.latents.detach(), out.audio.detach(), terms, total.detach())


def test_training_latents_and_audio(golden, step):
    assert_near(step.latents, golden["train_z_hat"], LATENT)
    # the decoder's tolerance holds for equal latents; here they differ by the encoder's
    assert_near(step.audio, golden["train_audio_hat_fp32"], INSIDE)


def test_training_losses(golden, step):
    expected = {"mel": "train_mel_loss_fp32"}
    if golden.stage == 2:
        expected |= {"recon": "train_sr_loss_recon", "ssl": "train_sr_loss_ssl"}
    else:
        expected |= {"recon": "train_sr_loss", "kl": "train_kl_loss"}
    assert expected.keys() == step.terms.keys()
    for name, array in expected.items():
        assert float(step.terms[name]) == pytest.approx(float(golden[array]), rel=LOSS), name
    semantic = float(step.terms["recon"]) + float(step.terms.get("ssl", 0.0))
    assert semantic == pytest.approx(float(golden["train_sr_loss"]), rel=LOSS)
    assert float(step.total) == pytest.approx(float(golden["train_total_no_gan_fp32"]), rel=LOSS)


def our_gradients(golden: Golden, step: Step) -> dict[str, Tensor | None]:
    """Gradients under the research code's names, of every weight that we keep."""
    checkpoint = golden.folder / CHECKPOINTS[golden.name]
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    parameters = dict(step.model.named_parameters())
    gradients = {}
    for name in golden.arrays["grad_names"].tolist():
        layers = step.model.encoder.num_layers
        ours = translate({name: state[name]}, golden.stage, -1, layers).weights
        if ours:
            gradients[name] = parameters[next(iter(ours))].grad
    return gradients


def test_gradient_norms(golden, step):
    gradients = our_gradients(golden, step)
    norms = dict(
        zip(golden.arrays["grad_names"].tolist(), golden.arrays["grad_norms_fp32"], strict=True)
    )
    # everything that learns but the teacher, the unused upsampler and the unused norm
    assert sum(not np.isnan(norms[name]) for name in gradients) > 180
    for name, gradient in gradients.items():
        if np.isnan(norms[name]):
            assert gradient is None or gradient.abs().max() == 0, name
        else:
            assert float(gradient.norm()) == pytest.approx(norms[name], rel=1e-3, abs=1e-5), name
    left_out = norms.keys() - gradients.keys()
    assert all(np.isnan(norms[name]) for name in left_out)


def test_whole_gradients(golden, step):
    gradients = our_gradients(golden, step)
    names = [n for n in golden.arrays if n.startswith("grad:") and n.endswith("_fp32")]
    assert len(names) >= 5
    for name in names:
        ours = gradients[name.removeprefix("grad:").removesuffix("_fp32")]
        expected = golden[name].reshape(ours.shape)
        assert (ours - expected).norm() <= 1e-3 * expected.norm() + 1e-5, name
