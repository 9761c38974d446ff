"""What classes were called in releases of format 1, which named modules: frozen for good.

Such releases are read by this table, and hashes of models are taken over these names, so that a
model has the hash that it always had. A class that came later has its short name in both.
"""

from __future__ import annotations

_MODULES = {
    "wavcube.lobes.wavcube": "WavCube",
    "wavcube.lobes.acoustic_codec": "AcousticCodec",
    "wavcube.lobes.acoustic_encoder": "AcousticEncoder",
    "wavcube.lobes.ssl_encoder": "SSLEncoder",
    "wavcube.lobes.layer_mix": "LayerMix",
    "wavcube.lobes.acoustic_skip": "AcousticSkip",
    "wavcube.lobes.latent_basis": "LatentBasis",
    "wavcube.lobes.bottleneck": "SemanticBottleneck VariationalBottleneck",
    "wavcube.lobes.decoder": "AcousticDecoder",
    "wavcube.lobes.convnext": "ConvNeXtBackbone",
    "wavcube.lobes.causal_transformer": "CausalTransformerBackbone",
    "wavcube.lobes.local_vocoder": "LocalVocoder",
    "wavcube.lobes.istft": "ISTFTHead",
    "wavcube.representations.codec": "CodecRepresentation",
    "wavcube.representations.latent": "LatentRepresentation",
    "wavcube.representations.mel": "MelRepresentation",
    "wavcube.representations.packaged": "PackagedLatent PackagedSSL",
    "wavcube.representations.ssl": "SSLRepresentation",
    "wavcube.representations.waveform": "WaveformRepresentation",
    "wavcube.lobes.heads.recognizer": "RecognitionModel",
    "wavcube.lobes.heads.asr": "BLSTMHead ConformerHead LinearHead",
    "wavcube.lobes.heads.enhancer": "MaskEnhancer LatentEnhancer",
    "wavcube.lobes.heads.separator": "MaskSeparator LatentSeparator WaveformSeparator",
    "wavcube.lobes.heads.mask": "MaskHead",
    "wavcube.lobes.heads.latent_map": "LatentHead",
    "wavcube.lobes.heads.conv_tasnet": "ConvTasNetHead",
    "wavcube.lobes.heads.converter": "VoiceConverter StoredVoice",
    "wavcube.lobes.heads.conformer_conversion": "ConformerConversion",
    "wavcube.lobes.heads.flow_conversion": "FlowConversion",
    "wavcube.lobes.heads.autoregressive_conversion": "AutoregressiveConversion",
    "wavcube.lobes.conformer": "MaskedConformer",
}
OLD_NAMES = {
    name: f"{module}.{name}" for module, names in _MODULES.items() for name in names.split()
}


SHORT_NAMES = {old: name for name, old in OLD_NAMES.items()}
