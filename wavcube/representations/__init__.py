"""What a task's head hears: one interface, so that any of them serves any head.

Every representation turns waveforms into frames by a pretrained (or fixed) model; a head sees
`dim`, `frame_rate` and `sample_rate`, and nothing of what is behind them.
"""

from wavcube.representations.base import Representation
from wavcube.representations.cache import StateCache, state_key
from wavcube.representations.codec import CodecRepresentation
from wavcube.representations.latent import LatentRepresentation, PackagedLatent
from wavcube.representations.mel import MelRepresentation
from wavcube.representations.ssl import PackagedSSL, SSLRepresentation
from wavcube.representations.waveform import WaveformRepresentation

__all__ = [
    "CodecRepresentation",
    "LatentRepresentation",
    "MelRepresentation",
    "PackagedLatent",
    "PackagedSSL",
    "Representation",
    "SSLRepresentation",
    "StateCache",
    "WaveformRepresentation",
    "state_key",
]
