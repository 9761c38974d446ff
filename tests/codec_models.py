"""Small codecs with random weights, as transformers saves them."""

from transformers import EncodecConfig, EncodecModel, MimiConfig, MimiModel

ENCODEC = {
    "model_type": "encodec",
    "num_filters": 2,
    "hidden_size": 8,
    "num_lstm_layers": 1,
    "codebook_size": 8,
    "codebook_dim": 8,
}
MIMI = {
    "model_type": "mimi",
    "num_filters": 2,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 16,
    "codebook_size": 8,
    "codebook_dim": 8,
    "vector_quantization_hidden_dimension": 8,
    "upsample_groups": 16,
}
CLASSES = {"encodec": (EncodecConfig, EncodecModel), "mimi": (MimiConfig, MimiModel)}


def save_codec(folder, config):
    """Write a codec's folder, and return its model."""
    config_class, model_class = CLASSES[config["model_type"]]
    model = model_class(config_class.from_dict(dict(config))).eval()
    model.save_pretrained(folder)
    return model
