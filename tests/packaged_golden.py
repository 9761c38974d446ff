"""The packaged model's latents and waveform of one second, and the command that notes them down.

    python tests/packaged_golden.py

To be run after the packaged model was replaced, and only then.
"""

from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save_file

from wavcube import WavCube
from wavcube.data.synthetic import make_synthetic_corpus

GOLDEN = Path(__file__).parent / "goldens" / "wavcube_tiny.safetensors"
SECOND = 16000


def outputs(model: WavCube, speech: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the model makes of speech `[T]`."""
    latents, lens = model.encode_batch(speech[None], sample_rate=SECOND)
    copy = model.decode_batch(latents, lens, length=len(speech))
    return {"latents": latents[0], "copy": copy[0]}


def main() -> None:
    """Speak a second, and write it with what the model makes of it."""
    import tempfile

    from wavcube.data.audio import read_audio

    with tempfile.TemporaryDirectory() as folder:
        corpus = make_synthetic_corpus(folder, train_minutes=1)
        path = sorted((corpus / "test-clean").rglob("*.flac"))[0]
        speech = read_audio(path, SECOND)[:SECOND].clone()
    torch.set_num_threads(1)
    made = outputs(WavCube.from_hparams(run_opts={"device": "cpu"}), speech)
    versions = {name: version(name) for name in ("torch", "transformers")}
    save_file({"speech": speech, **made}, GOLDEN, metadata=versions)


if __name__ == "__main__":
    main()
