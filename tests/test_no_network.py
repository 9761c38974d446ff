"""Nothing needs the network, and importing the package does nothing else."""

import os
import socket
import subprocess
import sys

import pytest
import torch
from releases import random_release

from wavcube import WavCube


def run_python(code, **environment):
    """Run code in a fresh interpreter where any socket is an error, and return what it prints."""
    guard = (
        "import socket\n"
        "def refuse(*_, **__): raise RuntimeError('a socket was opened')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", guard + code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_suite_runs_without_sockets():
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    with pytest.raises(Exception, match="socket"):
        socket.socket(socket.AF_INET, socket.SOCK_STREAM)


def test_a_folder_loads_offline_with_an_empty_cache(tmp_path):
    folder = random_release(tmp_path / "model")
    code = (
        "import torch\n"
        "from wavcube import WavCube\n"
        f"m = WavCube.from_hparams({str(folder)!r}, run_opts={{'device': 'cpu'}})\n"
        "z, lens = m.encode_batch(torch.zeros(1, 700))\n"
        "print(*z.shape, *m.decode_batch(z, lens, length=700).shape)\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    shape = run_python(code, HF_HOME=str(home), HOME=str(home), HF_HUB_OFFLINE="0")
    assert shape == "1 3 8 1 700"
    assert not list(home.rglob("*"))
    model = WavCube.from_hparams(folder, run_opts={"device": "cpu"})
    assert model.encode_batch(torch.zeros(1, 700))[0].shape == (1, 3, 8)


def test_importing_the_package_has_no_side_effects():
    code = (
        "import sys, os\n"
        "before, threads, folder = set(sys.modules), os.environ.copy(), os.getcwd()\n"
        "import wavcube\n"
        "heavy = {'torch', 'speechbrain', 'transformers', 'numpy'} & set(sys.modules)\n"
        "print(heavy or 'light', wavcube.__version__, 'WavCube' in dir(wavcube))\n"
        "assert threads == os.environ and folder == os.getcwd()\n"
    )
    assert run_python(code) == "light 0.1.0 True"


def test_other_libraries_can_look_at_every_module():
    code = (
        "import inspect, sys, torch\n"
        "threads, dtype = torch.get_num_threads(), torch.get_default_dtype()\n"
        "from wavcube import WavCube\n"
        "import wavcube.cli.main\n"
        "for module in list(sys.modules.values()):\n"
        "    inspect.getmodule(module)\n"
        "inspect.stack()\n"
        "assert (threads, dtype) == (torch.get_num_threads(), torch.get_default_dtype())\n"
        "print(WavCube.__module__)\n"
    )
    assert run_python(code) == "wavcube.inference.latent"


def test_an_unknown_attribute_is_an_attribute_error():
    import wavcube

    with pytest.raises(AttributeError, match="WavCubes"):
        wavcube.WavCubes  # noqa: B018
