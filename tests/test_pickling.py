"""Models go to other processes and into files as a whole: pickle, copy, DataLoader of spawn."""

import copy
import io
import pickle

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from wavcube import WavCube, inference
from wavcube.testing import tone

CPU = {"device": "cpu"}
WAVS = torch.stack([tone(0.5, 0), tone(0.5, 1)])
PACKAGED = [
    WavCube,
    inference.WavCubeASR,
    inference.WavCubeEnhancer,
    inference.WavCubeSeparator,
    inference.WavCubeVoiceConverter,
]


def saved_and_loaded(model):
    stream = io.BytesIO()
    torch.save(model, stream)
    stream.seek(0)
    return torch.load(stream, weights_only=False)


def result(model):
    if isinstance(model, inference.WavCubeASR):
        return model.transcribe_batch(WAVS)
    if isinstance(model, inference.WavCubeVoiceConverter):
        return model.convert_batch(WAVS, WAVS)
    if isinstance(model, WavCube):
        return model.encode_batch(WAVS)[0]
    verb = "enhance_batch" if isinstance(model, inference.WavCubeEnhancer) else "separate_batch"
    return getattr(model, verb)(WAVS)


@pytest.mark.parametrize("kind", PACKAGED, ids=lambda kind: kind.__name__)
def test_a_model_is_the_same_after_pickling(kind):
    model = kind.from_hparams(run_opts=CPU)
    expected = result(model)
    for again in (pickle.loads(pickle.dumps(model)), saved_and_loaded(model), copy.deepcopy(model)):
        assert again.state_dict().keys() == model.state_dict().keys()
        if isinstance(expected, list):
            assert result(again) == expected
        else:
            torch.testing.assert_close(result(again), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("options", [{"precision": "bf16"}, {"quantize": "int8"}])
def test_so_is_one_of_another_precision(options):
    model = WavCube.from_hparams(run_opts={**CPU, **options})
    again = pickle.loads(pickle.dumps(model))
    torch.testing.assert_close(result(again), result(model), atol=1e-4, rtol=1e-4)


class Latents(Dataset):
    """A dataset that encodes what it reads, as users write them."""

    def __init__(self, model):
        self.model = model

    def __len__(self):
        return len(WAVS)

    def __getitem__(self, index):
        return self.model.encode_batch(WAVS[index])[0][0]


def test_a_dataset_may_hold_one_in_processes_started_afresh():
    model = WavCube.from_hparams(run_opts=CPU)
    loader = DataLoader(Latents(model), num_workers=1, multiprocessing_context="spawn")
    for made, wav in zip(loader, WAVS, strict=True):
        expected = model.encode_batch(wav)[0][0]
        torch.testing.assert_close(made[0], expected, atol=1e-4, rtol=1e-4)
