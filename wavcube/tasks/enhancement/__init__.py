"""Enhancement: noisy speech to clean speech."""

from wavcube.tasks.verbs import Audio, Verb

VERB = Verb(
    "enhance",
    "noisy speech to clean speech, as wav files",
    Audio(),
    released="WavCubeEnhancer",
    packaged="enhancement_tiny",
)
