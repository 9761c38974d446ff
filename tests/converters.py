"""Small converters, voices and a corpus that the tests of voice conversion share."""

import torch

from wavcube.data.audio import write_audio
from wavcube.lobes.layers.conformer import MaskedConformer
from wavcube.representations import LatentRepresentation
from wavcube.tasks.conversion.autoregressive import AutoregressiveConversion
from wavcube.tasks.conversion.conformer import ConformerConversion
from wavcube.tasks.conversion.flow import FlowConversion
from wavcube.tasks.conversion.model import VoiceConverter
from wavcube.tasks.conversion.voice import Voice
from wavcube.testing import tiny_wavcube, tone

RATE = 16000
DIM = 8


def body():
    return MaskedConformer(8, num_layers=1, num_heads=2, ffn_dim=16, kernel_size=3)


HEADS = {
    "conformer": lambda: ConformerConversion(body(), DIM, content_dim=4, embedding_dim=0),
    "embedding": lambda: ConformerConversion(body(), DIM, content_dim=4, embedding_dim=3),
    "flow": lambda: FlowConversion(body(), DIM, content_dim=4, steps=3),
    "autoregressive": lambda: AutoregressiveConversion(
        DIM, hidden_dim=6, prenet_dim=4, decoder_dim=6
    ),
    "superb": lambda: AutoregressiveConversion(
        DIM, hidden_dim=6, prenet_dim=4, decoder_dim=6, dropout=0.2, recurrent_projection=True
    ),
}


def random_head(kind, seed=0):
    """A head in eval mode, none of whose weights is zero."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = HEADS[kind]()
        for parameter in head.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return head.eval()


def random_converter(kind="conformer", stored=None, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        own = LatentRepresentation(tiny_wavcube())
    return VoiceConverter(own, random_head(kind, seed), stored).eval()


def random_voice(batch, size=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    frames = torch.arange(size, size - batch, -1)
    return Voice(
        torch.randn(batch, size, DIM, generator=generator),
        frames,
        torch.linspace(4.8, 5.3, batch),
        torch.nn.functional.normalize(torch.randn(batch, 3, generator=generator), dim=-1),
    )


def write_vctk(folder, speakers=("p1", "p2", "p3", "p4", "p5"), each=2, seconds=0.9):
    """Tones in VCTK 0.92's layout, everybody's with the same words."""
    for number, speaker in enumerate(speakers):
        for index in range(each):
            name = f"{speaker}_{index + 1:03d}"
            wav = tone(seconds + 0.1 * index, 10 * number + index)
            audio = folder / "wav48_silence_trimmed" / speaker / f"{name}_mic1.flac"
            write_audio(audio, wav, RATE)
            text = folder / "txt" / speaker / f"{name}.txt"
            text.parent.mkdir(parents=True, exist_ok=True)
            text.write_text(f"sentence {'one' if index == 0 else 'two'}\n")
    return folder
