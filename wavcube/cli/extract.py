"""`wavcube extract`: the features of a whole corpus, in shards."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from wavcube.cli.files import check_writable
from wavcube.cli.model import add_model_options, load_model
from wavcube.cli.output import say

if TYPE_CHECKING:
    from wavcube.features import FeatureFolder, Processes, RayData
    from wavcube.features.shards import Computation
    from wavcube.representations import Representation

KINDS = ("wavcube", "ssl", "codec", "mel")
ENGINES = ("processes", "ray")
COMPUTED_IN: dict[str, Computation] = {"fp32": "float32", "bf16": "bfloat16"}
WITH_MATRICES = ("wavcube", "ssl")  # the others are computed in float32


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add the command to the main parser.

    Parameters
    ----------
    commands : argparse action
        Of the main parser.
    """
    text = "features of a corpus, in shards with an index; goes on where it stopped"
    parser = commands.add_parser("extract", help=text, description=text)
    parser.add_argument(
        "manifest", metavar="MANIFEST", help="CSV, JSON lines, folder of tar shards or of audio"
    )
    parser.add_argument("out", metavar="OUT", help="new folder, or that of the same job")
    add_model_options(parser, precision=False)
    parser.add_argument(
        "--representation", choices=KINDS, default=KINDS[0], help="(default: %(default)s)"
    )
    parser.add_argument("--data-root", metavar="FOLDER", help="of relative paths in the manifest")
    parser.add_argument(
        "--format", choices=("safetensors", "npy"), default="safetensors", help="of the shards"
    )
    parser.add_argument("--half", action="store_true", help="store float16")
    parser.add_argument(
        "--precision",
        choices=(*COMPUTED_IN, "auto"),
        default="fp32",
        help="what matrices are multiplied in (default: %(default)s); auto: bf16 where the device "
        "multiplies it itself, otherwise fp32, and the job is that of the one chosen",
    )
    parser.add_argument(
        "--shard-size", type=int, default=256, metavar="N", help="segments (default: 256)"
    )
    parser.add_argument(
        "--batch-seconds",
        type=float,
        default=0.0,
        metavar="S",
        help="most that a batch holds, for GPUs; by default each segment is computed alone",
    )
    parser.add_argument(
        "--max-seconds", type=float, metavar="S", help="longer segments are bad (default: none is)"
    )
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="(default: 1)")
    parser.add_argument(
        "--engine", choices=ENGINES, default=ENGINES[0], help="what gives shards to them"
    )
    parser.add_argument(
        "--max-bad", type=float, default=0.01, metavar="FRACTION", help="(default: 0.01)"
    )
    parser.add_argument("--retry-bad", action="store_true", help="bad segments were repaired")
    parser.set_defaults(run=_extract)


def _extract(options: argparse.Namespace) -> int:
    check_writable(Path(options.out))
    make = _choose(options.representation, options.source)
    from tqdm.contrib.logging import logging_redirect_tqdm

    from wavcube.features import Form, extract

    engine = _engine(options)
    options.precision = _settle(options, engine.device)
    if options.representation == "wavcube" and options.source and not Path(options.source).is_dir():
        # fetched once, before the workers ask for it
        load_model(argparse.Namespace(**{**vars(options), "precision": "fp32"}))
    form = Form(
        shard_size=options.shard_size,
        batch_seconds=options.batch_seconds,
        precision="float16" if options.half else "float32",
        file_format=options.format,
        max_seconds=options.max_seconds,
        computed_in=COMPUTED_IN[options.precision],
    )
    with logging_redirect_tqdm([logging.getLogger("wavcube")]):
        features = extract(
            options.manifest,
            options.out,
            make,
            form=form,
            engine=engine,
            data_root=options.data_root,
            max_bad_fraction=options.max_bad,
            retry_bad=options.retry_bad,
            progress=sys.stderr.isatty(),
        )
    say(_summary(features))
    return 0


def _choose(kind: str, source: str | None) -> Callable[[], Representation]:
    from wavcube import representations as known

    if kind == "mel" and source is not None:
        raise ValueError(f"log-mel energies need no model: leave --source {source} out")
    if kind == "codec":
        if source is None:
            raise ValueError("no codec comes with the package: name its folder by --source")
        return partial(known.CodecRepresentation.from_pretrained, source)
    loaders: dict[str, Callable[[], Representation]] = {
        "wavcube": partial(known.LatentRepresentation.from_release, source),
        "ssl": partial(known.SSLRepresentation.from_pretrained, source),
        "mel": known.MelRepresentation,
    }
    return loaders[kind]


def _settle(options: argparse.Namespace, device: str) -> str:
    from wavcube.utils.precision import AUTO, settle_precision

    if options.representation not in WITH_MATRICES:
        return "fp32" if options.precision == AUTO else options.precision
    return settle_precision(options.precision, device)


def _engine(options: argparse.Namespace) -> Processes | RayData:
    import torch

    from wavcube.features import Processes, RayData

    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    kind = RayData if options.engine == "ray" else Processes
    return kind(options.processes, device)


def _summary(features: FeatureFolder) -> str:
    hours = features.num_frames / features.frame_rate / 3600
    bad = features.bad()
    left_out = f"; {len(bad)} left out, see bad.csv" if bad else ""
    return (
        f"{features.folder}: {len(features)} segments, {features.num_frames} frames of "
        f"{features.shape}, {hours:.3g} h{left_out}"
    )
