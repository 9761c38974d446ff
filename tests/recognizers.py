"""Tiny recognisers for the tests of everything that trains, writes or loads one."""

import torch

from wavcube.data.tokens import train_tokens
from wavcube.release.card import ModelCard, Source
from wavcube.release.folder import write_release
from wavcube.representations import MelRepresentation
from wavcube.tasks.recognition.heads import BLSTMHead
from wavcube.tasks.recognition.model import RecognitionModel

TEXT = ["ONE TWO", "THREE", "FOUR FIVE SIX", "SEVEN EIGHT", "NINE ZERO"]
CARD = ModelCard(
    title="Tiny recogniser",
    summary="Random weights.",
    weights_license="Apache-2.0",
    commercial_use="yes",
    upstream=[],
    data=[Source("synthetic speech", "generated", "wavcube.data.synthetic")],
    command="train_asr.py",
)


def spell(text, sample_rate=16000):
    """A waveform that says a text: a tone of its own, of a tenth of a second, for each letter."""
    time = torch.arange(sample_rate // 10) / sample_rate
    steps = [0 if letter == " " else ord(letter) - ord("A") + 1 for letter in text]
    parts = [0.3 * torch.sin(2 * torch.pi * 150 * 1.15**step * time) for step in steps]
    return torch.cat(parts)


def random_recognizer(num_tokens, representation=None, seed=0, dim=8):
    """A model whose weights depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        representation = representation or MelRepresentation(num_mel_bins=20)
        head = BLSTMHead(representation.dim, num_tokens, dim, dim, num_layers=1, dropout=0.0)
        return RecognitionModel(representation, head).eval()


def recognizer_release(folder, representation=None, seed=0, text=TEXT):
    """A release with its tokenizer."""
    tokens = train_tokens(text, folder.parent / "tokens")
    model = random_recognizer(len(tokens), representation, seed)
    files = {tokens.path.name: tokens.path.read_bytes()}
    return write_release(model, folder, card=CARD, extra_files=files)
