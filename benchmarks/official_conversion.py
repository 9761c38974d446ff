"""Peak memory of converting a research checkpoint of the paper's size.

    python -m benchmarks.official_conversion [--folder FOLDER]

Writes a checkpoint with the research code's names and random weights, teacher, discriminators and
optimizer states included (10 GB), converts it to float32 and to float16 in processes of their own,
and prints what each wrote and the most memory that it held (VmHWM, mapped pages included).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import yaml

from wavcube.lobes.bottleneck import SemanticBottleneck
from wavcube.lobes.decoder.causal_transformer import CausalTransformerBackbone
from wavcube.lobes.decoder.decoder import AcousticDecoder, ISTFTHead
from wavcube.lobes.decoder.local_vocoder import LocalVocoder
from wavcube.lobes.ssl.encoder import SSLEncoder
from wavcube.lobes.wavcube import WavCube

GIB = 2**30
WAVLM_LARGE = {
    "model_type": "wavlm",
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
}
DECODER = "backbone.decoder."
STARTS = {
    "encoder.model.": "feature_extractor.rep_model.",
    "bottleneck.semantic_encoder.layers.": "feature_extractor.enc_transformer.",
    "bottleneck.semantic_encoder.projection.": "feature_extractor.enc_projection.",
    "bottleneck.semantic_decoder.layers.": "feature_extractor.dec_transformer.",
    "bottleneck.semantic_decoder.projection.": "feature_extractor.dec_projection.",
    "decoder.backbone.embed.": "backbone.upsample_proj.",
    "decoder.backbone.layers.": f"{DECODER}layers.",
    "decoder.backbone.norm.": f"{DECODER}layer_norm.",
    "decoder.backbone.upsampler.": f"{DECODER}dconv2.",
    "decoder.backbone.vocoder.embed.": f"{DECODER}vocoder.embeddings.",
    "decoder.backbone.vocoder.layers.": f"{DECODER}vocoder.layers.",
    "decoder.backbone.vocoder.norm.": f"{DECODER}vocoder.layer_norm.",
    "decoder.head.out.": f"{DECODER}vocoder.head.out.",
}
PARTS = {
    ".attention.": ".self_attn.",
    ".attention_norm.": ".self_attn_layer_norm.",
    ".ffn_norm.": ".final_layer_norm.",
    ".ffn_in.": ".fc1.",
    ".ffn_out.": ".fc2.",
}
# parameters of what conversion leaves out
DISCARDED = {
    "multiperioddisc.a": 41_100_000,
    "multiresddisc.a": 1_400_000,
    "sim_model.a": 95_000_000,
}
FEATURES = {
    "model_id": "wavlm_large",
    "layer_idx": -1,
    "latent_dim": 128,
    "stage": 2,
    "use_vae": False,
}
BACKBONE = {
    "latent_dim": 128,
    "d_model": 1024,
    "decoder_attention_heads": 16,
    "decoder_ffn_dim": 4096,
    "decoder_layers": 24,
    "sampling_rate": 16000,
    "hop_length": 160,
    "window_size": 640,
    "nfft": 640,
    "upsample": True,
}
CHILD = """
import sys
from wavcube.cli.main import main
code = main(sys.argv[1:])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(peak.split()[1])
sys.exit(code)
"""


def their_state() -> Iterator[tuple[str, torch.Tensor]]:
    """Give every weight of a stage-2 checkpoint by its name there."""
    with torch.device("meta"):
        backbone = CausalTransformerBackbone(128, LocalVocoder())
        decoder = AcousticDecoder(backbone, ISTFTHead(256))
        model = WavCube(SSLEncoder(WAVLM_LARGE), SemanticBottleneck(1024), decoder)
    for name, weight in model.state_dict().items():
        start = next(start for start in STARTS if name.startswith(start))
        theirs = STARTS[start] + name.removeprefix(start)
        if theirs.startswith(DECODER):
            for ours, part in PARTS.items():
                theirs = theirs.replace(ours, part)
        shape = (*weight.shape, 1) if theirs == "backbone.upsample_proj.weight" else weight.shape
        yield theirs, 0.02 * torch.randn(shape)
        if start == "encoder.model.":
            yield theirs.replace("rep_model", "model"), torch.zeros(shape)
    yield f"{DECODER}vocoder.head.istft.window", torch.hann_window(640)
    for name, count in DISCARDED.items():
        yield name, torch.zeros(count)


def write_checkpoint(folder: Path) -> None:
    """Write checkpoint, YAML and the encoder's configuration."""
    state = dict(their_state())
    # zeros take no memory here, and as many bytes in the file as any
    moments = [
        {"exp_avg": torch.zeros(weight.shape), "exp_avg_sq": torch.zeros(weight.shape)}
        for name, weight in state.items()
        if not name.startswith(("feature_extractor.model.", "sim_model."))
    ]
    optimizers = [{"state": dict(enumerate(moments)), "param_groups": []}]
    content = {"state_dict": state, "optimizer_states": optimizers, "epoch": 1}
    torch.save(content, folder / "model.ckpt")
    parts = {"feature_extractor": FEATURES, "backbone": BACKBONE}
    arguments = {name: {"init_args": part} for name, part in parts.items()}
    text = yaml.safe_dump({"model": {"init_args": arguments}})
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    (folder / "wavlm_large").mkdir()
    (folder / "wavlm_large" / "config.json").write_text(json.dumps(WAVLM_LARGE), encoding="utf-8")


def convert(folder: Path, *options: str) -> dict[str, float]:
    """Convert in a process of its own; give seconds, bytes written and peak in GiB."""
    out = folder / "out"
    paths = [folder / "model.ckpt", out, "--config", folder / "config.yaml", "--overwrite"]
    arguments = ["convert-official", *map(str, paths), *options]
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    seconds = time.monotonic() - started
    written = sum(path.stat().st_size for path in out.iterdir()) / GIB
    peak = int(done.stdout.split()[-1]) / 2**20
    return {"seconds": seconds, "written": written, "peak": peak, "limit": 1.5 * written + 0.6}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where to work; 15 GB are needed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        command = (
            "from benchmarks.official_conversion import *; write_checkpoint(Path(sys.argv[1]))"
        )
        # in another process: this one stays small
        subprocess.run([sys.executable, "-c", command, name], check=True)
        size = (folder / "model.ckpt").stat().st_size / GIB
        print(f"checkpoint: {size:.2f} GiB")
        print("| | written [GiB] | peak [GiB] | 1.5 x written + 0.6 | [s] |\n|---|---|---|---|---|")
        for title, flags in (("float32", ()), ("float16", ("--half",))):
            row = convert(folder, *flags)
            cells = [f"{row[key]:.2f}" for key in ("written", "peak", "limit")]
            print(f"| {title} | {' | '.join(cells)} | {row['seconds']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
