"""What classes were called in releases of format 1, which named modules: frozen for good.

Such releases are read by this table, and hashes of models are taken over these names, so that a
model has the hash that it always had. A class that came later has its short name in both.
"""

from __future__ import annotations

OLD_NAMES = {
    "WavCube": "wavcube.lobes.wavcube.WavCube",
    "AcousticCodec": "wavcube.lobes.acoustic_codec.AcousticCodec",
    "AcousticEncoder": "wavcube.lobes.acoustic_encoder.AcousticEncoder",
    "SSLEncoder": "wavcube.lobes.ssl_encoder.SSLEncoder",
    "LayerMix": "wavcube.lobes.layer_mix.LayerMix",
    "AcousticSkip": "wavcube.lobes.acoustic_skip.AcousticSkip",
    "LatentBasis": "wavcube.lobes.latent_basis.LatentBasis",
    "SemanticBottleneck": "wavcube.lobes.bottleneck.SemanticBottleneck",
    "VariationalBottleneck": "wavcube.lobes.bottleneck.VariationalBottleneck",
    "AcousticDecoder": "wavcube.lobes.decoder.AcousticDecoder",
    "ConvNeXtBackbone": "wavcube.lobes.convnext.ConvNeXtBackbone",
    "CausalTransformerBackbone": "wavcube.lobes.causal_transformer.CausalTransformerBackbone",
    "LocalVocoder": "wavcube.lobes.local_vocoder.LocalVocoder",
    "ISTFTHead": "wavcube.lobes.istft.ISTFTHead",
    "CodecRepresentation": "wavcube.representations.codec.CodecRepresentation",
    "LatentRepresentation": "wavcube.representations.latent.LatentRepresentation",
    "MelRepresentation": "wavcube.representations.mel.MelRepresentation",
    "PackagedLatent": "wavcube.representations.packaged.PackagedLatent",
    "PackagedSSL": "wavcube.representations.packaged.PackagedSSL",
    "SSLRepresentation": "wavcube.representations.ssl.SSLRepresentation",
    "WaveformRepresentation": "wavcube.representations.waveform.WaveformRepresentation",
    "RecognitionModel": "wavcube.lobes.heads.recognizer.RecognitionModel",
    "BLSTMHead": "wavcube.lobes.heads.asr.BLSTMHead",
    "ConformerHead": "wavcube.lobes.heads.asr.ConformerHead",
    "LinearHead": "wavcube.lobes.heads.asr.LinearHead",
    "MaskEnhancer": "wavcube.lobes.heads.enhancer.MaskEnhancer",
    "LatentEnhancer": "wavcube.lobes.heads.enhancer.LatentEnhancer",
    "MaskSeparator": "wavcube.lobes.heads.separator.MaskSeparator",
    "LatentSeparator": "wavcube.lobes.heads.separator.LatentSeparator",
    "WaveformSeparator": "wavcube.lobes.heads.separator.WaveformSeparator",
    "MaskHead": "wavcube.lobes.heads.mask.MaskHead",
    "LatentHead": "wavcube.lobes.heads.latent_map.LatentHead",
    "ConvTasNetHead": "wavcube.lobes.heads.conv_tasnet.ConvTasNetHead",
    "VoiceConverter": "wavcube.lobes.heads.converter.VoiceConverter",
    "StoredVoice": "wavcube.lobes.heads.converter.StoredVoice",
    "ConformerConversion": "wavcube.lobes.heads.conformer_conversion.ConformerConversion",
    "FlowConversion": "wavcube.lobes.heads.flow_conversion.FlowConversion",
    "AutoregressiveConversion": (
        "wavcube.lobes.heads.autoregressive_conversion.AutoregressiveConversion"
    ),
    "MaskedConformer": "wavcube.lobes.conformer.MaskedConformer",
}


SHORT_NAMES = {old: name for name, old in OLD_NAMES.items()}
