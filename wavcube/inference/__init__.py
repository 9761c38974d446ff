"""The classes that users load, one for each task: `WavCube.from_hparams(source=FOLDER)`."""

from wavcube.inference.latent import WavCube
from wavcube.tasks.conversion.inference import WavCubeVoiceConverter
from wavcube.tasks.enhancement.inference import WavCubeEnhancer
from wavcube.tasks.recognition.inference import WavCubeASR
from wavcube.tasks.separation.inference import WavCubeSeparator

__all__ = ["WavCube", "WavCubeASR", "WavCubeEnhancer", "WavCubeSeparator", "WavCubeVoiceConverter"]
