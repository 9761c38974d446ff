"""`--debug`: a few updates of the very model, and nothing that a run would go on from."""

import pytest
import torch
from hyperpyyaml import load_hyperpyyaml
from toy_brains import Numbers, ToyGan, toy, train

from wavcube.experiment.command_line import parse_arguments
from wavcube.latent.settings import AcousticSettings, LatentSettings
from wavcube.lobes.ssl.encoder import SSLEncoder
from wavcube.release.ssl_folder import open_encoder, write_encoder
from wavcube.testing import tiny_ssl_config, tiny_ssl_encoder
from wavcube.training.checkpoints import AtomicCheckpointer
from wavcube.training.settings import TrainingSettings

WEIGHTS = {"mel": 1.0, "semantic": 1.0, "adversarial": 1.0, "feature_matching": 1.0}


def test_a_dry_run_makes_the_updates_that_it_is_given_and_keeps_no_checkpoint(tmp_path):
    brain = ToyGan(
        {"generator": torch.nn.Linear(4, 4), "critic": torch.nn.Linear(4, 1)},
        lambda groups: torch.optim.AdamW(groups, lr=0.05),
        run_opts={"device": "cpu", "noprogressbar": True, "debug": True, "debug_batches": 3},
        checkpointer=AtomicCheckpointer(tmp_path / "save"),
        settings=TrainingSettings(updates=20, warmup=9, ema_decay=0.9, best_metric="error"),
    )
    train(brain, Numbers())
    assert brain.optimizer_step == 3
    assert brain.load_best() == {}
    assert not brain.modules.generator.training
    assert not list((tmp_path / "save").rglob("CKPT*"))


def test_what_training_held_is_let_go_of():
    brain = toy()
    train(brain, Numbers())
    optimizer = next(iter(brain.optimizers_dict.values()))
    facts = brain.metadata()
    brain.end_training()
    assert not brain.optimizers_dict
    assert all(parameter.grad is None for parameter in brain.modules.parameters())
    assert brain.metadata() == facts
    assert optimizer.state  # only the Brain has forgotten it


def test_the_discriminators_take_part_in_the_last_update():
    settings = LatentSettings(updates=9, weights=WEIGHTS, lr=1.0, warmup=5, adversarial_start=7)
    short = settings.shortened(2)
    assert (short.updates, short.warmup, short.adversarial_start) == (2, 2, 1)
    assert "adversarial" not in short.weights_at(0)
    assert "adversarial" in short.weights_at(1)
    assert settings.shortened(20) == settings
    codec = AcousticSettings(
        updates=9, weights={"mel": 1.0}, lr=1.0, encoder_lr=1.0, train_encoder="all"
    )
    assert codec.shortened(1).updates == 1


def test_data_become_few_and_the_command_line_counts(repository):
    path = str(repository / "hparams" / "wavcube_large.yaml")
    options = [path, "--random_ssl", "true"]
    assert parse_arguments(options, "")[2] == "random_ssl: true"
    text = parse_arguments([*options, "--debug", "--crop_seconds=0.5", "--output_folder=mine"], "")[
        2
    ]
    made = load_hyperpyyaml(text)
    assert made == {
        "random_ssl": True,
        "crop_seconds": 0.5,
        "output_folder": "mine",
        "num_workers": 0,
        "synthetic_minutes": 1,
        "valid_utterances": 1,
        "test_utterances": 1,
        "sample_clips": 1,
        "scoring_processes": 1,
        "stage1_batch_size": 1,
        "stage2_batch_size": 1,
    }
    text = parse_arguments([str(repository / "hparams" / "wavcube.yaml"), "--debug"], "")[2]
    assert load_hyperpyyaml(text)["output_folder"] == "results/wavcube/debug"


@pytest.mark.parametrize("name", ["wavcube_large", "wavcube_pro"])
@pytest.mark.filterwarnings("ignore:for .*meta parameter")
def test_the_paper_s_figures(repository, name):
    with (
        open(repository / "hparams" / f"{name}.yaml", encoding="utf-8") as file,
        torch.device("meta"),  # a billion parameters that need no memory
    ):
        options = {"random_ssl": True, "activation_checkpointing": True}
        hparams = load_hyperpyyaml(file, options)
    millions = {
        part: round(sum(p.numel() for p in hparams["model"][part].parameters()) / 1e6, 1)
        for part in ("encoder", "bottleneck", "decoder", "discriminators")
    }
    assert millions["encoder"] == 315.5
    assert millions["bottleneck"] == pytest.approx(2 * (37.8 + 0.7), abs=0.2)
    assert millions["decoder"] == pytest.approx(302 + 12.8, abs=1.0)
    assert millions["discriminators"] == pytest.approx(41.1 + 1.4, abs=0.1)
    assert hparams["model"]["encoder"].layer == -1
    assert hparams["model"]["copy_layers"] is True
    assert hparams["model"]["lobe"].bottleneck.with_linear is False
    first, second = hparams["stage1"], hparams["stage2"]
    for stage in (first, second):
        assert (stage.updates, stage.warmup, stage.ema_decay) == (500_000, 5000, None)
        assert stage.lr == stage.discriminator_lr == 1e-4
        assert stage.activation_checkpointing
    assert (first.batch_size, second.batch_size, hparams["crop_seconds"]) == (14, 8, 10.0)
    assert (first.train_encoder, first.detach_latent) == ("none", True)
    assert (second.train_encoder, second.detach_latent, second.encoder_lr) == ("all", False, 1e-4)
    assert first.weights == {"mel": 45, "semantic": 1, "adversarial": 1, "feature_matching": 1}
    assert second.weights == {
        "mel": 4.5, "semantic": 1, "anchoring": 1, "adversarial": 0.1, "feature_matching": 0.1
    }  # fmt: skip
    assert (first.adversarial_start, second.adversarial_start) == (5000, 0)
    assert (first.discriminator_weight, second.discriminator_weight) == (1.0, 0.1)
    optimizer = hparams["optimizer"]([torch.nn.Parameter(torch.zeros(1))])
    assert optimizer.defaults["betas"] == (0.8, 0.9)
    assert optimizer.defaults["weight_decay"] == 0.01
    assert hparams["precision"] == "fp32"
    assert hparams["mel_loss"] is None


def test_an_encoder_is_opened_as_it_was_asked_for(tmp_path):
    write_encoder(tiny_ssl_encoder(), tmp_path / "encoder")
    opened = open_encoder(str(tmp_path / "encoder"), layer=1)
    assert isinstance(opened, SSLEncoder)
    assert opened.layer == 1
    assert open_encoder(None, random=True, config=tiny_ssl_config()).dim == 16


def test_nothing_is_downloaded_unasked_and_nothing_found_is_said():
    with pytest.raises(ValueError, match=r"give --ssl_source FOLDER.*--random_ssl true"):
        open_encoder(None)
    with pytest.raises(ValueError, match="exclude each other"):
        open_encoder("microsoft/wavlm-large", random=True, config=tiny_ssl_config())
    with pytest.raises(FileNotFoundError, match="'nobody/nothing' is neither a folder nor a hub"):
        open_encoder("nobody/nothing")
