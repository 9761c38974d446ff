"""The classes that users load, one for each task: `WavCube.from_hparams(source=FOLDER)`."""

from wavcube.inference.asr import WavCubeASR
from wavcube.inference.enhancement import WavCubeEnhancer
from wavcube.inference.latent import WavCube
from wavcube.inference.separation import WavCubeSeparator
from wavcube.inference.voice_conversion import WavCubeVoiceConverter

__all__ = ["WavCube", "WavCubeASR", "WavCubeEnhancer", "WavCubeSeparator", "WavCubeVoiceConverter"]
