"""The continuous latent of a neural codec, in front of its quantiser, as a representation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import functional as F
from transformers import EncodecModel, MimiModel

from wavcube.release.weights import load_strictly
from wavcube.representations.base import Representation
from wavcube.utils.files import read_json

_CODECS: dict[str, Any] = {"encodec": EncodecModel, "mimi": MimiModel}
# what a configuration file tells of its writing, not of the model
_WRITING = ("transformers_version", "_name_or_path", "architectures", "dtype", "torch_dtype")


class CodecRepresentation(Representation):
    """What EnCodec's or Mimi's encoder gives to its quantiser; always frozen.

    Neither encoder takes a mask, and the end of a clip reaches back into its frames, so clips run
    in groups of equal length: exact, and slower than padding.

    Parameters
    ----------
    config : Mapping
        transformers' configuration as plain data, with its `model_type`, "encodec" or "mimi".
        Weights are random; see :meth:`from_pretrained`.

    Raises
    ------
    ValueError
        If the model type is another, or the codec is not mono or works in chunks.

    Examples
    --------
    >>> import torch
    >>> config = {"model_type": "encodec", "num_filters": 2, "hidden_size": 8, "codebook_size": 8}
    >>> representation = CodecRepresentation(config)
    >>> representation(torch.randn(2, 3200))[0].shape, representation.sample_rate
    (torch.Size([2, 10, 8]), 24000)
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        model_type = config.get("model_type")
        if model_type not in _CODECS:
            raise ValueError(f"model_type {model_type!r} is not one of {sorted(_CODECS)}")
        model_class = _CODECS[model_type]
        parsed = model_class.config_class.from_dict(dict(config))
        chunks = getattr(parsed, "chunk_length_s", None)
        if parsed.audio_channels != 1 or chunks or getattr(parsed, "normalize", False):
            raise ValueError(
                f"a codec of {parsed.audio_channels} channels, in chunks of {chunks} s or with "
                "normalised loudness is not supported: take a mono one, as the 24 kHz EnCodec"
            )
        super().__init__(model_class(parsed).encoder)
        self._parsed = parsed
        self.record(config={k: v for k, v in config.items() if k not in _WRITING})

    @classmethod
    def from_pretrained(cls, source: str | Path) -> CodecRepresentation:
        """Load a codec's encoder from a folder; nothing is downloaded.

        Parameters
        ----------
        source : str or Path
            Folder with config.json and model.safetensors, as transformers saves them.

        Raises
        ------
        FileNotFoundError
            If the folder or a file of it is absent.
        ValueError
            If a weight is missing, unexpected or of another size.
        """
        for name in ("config.json", "model.safetensors"):
            if not (Path(source) / name).is_file():
                raise FileNotFoundError(f"{source} has no {name}: not a folder of a codec")
        config = read_json(Path(source) / "config.json")
        representation = cls(config)
        loaded, report = _CODECS[config["model_type"]].from_pretrained(
            source,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are reported below, with the rest
        )
        problems = {kind: sorted(map(str, names)) for kind, names in report.items() if names}
        if problems:
            raise ValueError(f"{source} does not fit a {config['model_type']}: {problems}")
        load_strictly(representation.model, loaded.encoder.state_dict(), str(source))
        return representation

    @property
    def sample_rate(self) -> int:
        """Of the waveforms, in Hz."""
        return self._parsed.sampling_rate

    @property
    def hop(self) -> int:
        """Samples per frame."""
        if self._parsed.model_type == "encodec":
            return self._parsed.hop_length
        return round(self.sample_rate / self._parsed.frame_rate)

    @property
    def dim(self) -> int:
        """Width C of the latent."""
        return self._parsed.hidden_size

    def description(self) -> Mapping[str, Any]:
        """Return the codec's configuration as plain data."""
        return {"kind": "codec", **self.config()["config"]}

    def compute(self, wavs: Tensor, samples: Tensor, frames: Tensor) -> Tensor:
        """Encode clips of equal length together; see the base class."""
        size = int(frames.max())
        states = wavs.new_zeros(len(wavs), 1, size, self.dim)
        for count in samples.unique().tolist():
            rows = (samples == count).nonzero().squeeze(1)
            encoded = self.model(wavs[rows, None, :count])
            latents = encoded if self._parsed.model_type == "encodec" else encoded.latents
            padding = (0, 0, 0, size - latents.shape[2])
            states[rows] = F.pad(latents.transpose(1, 2), padding)[:, None].to(states.dtype)
        return states
