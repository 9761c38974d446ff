"""What a dry run (`--debug`) makes of a recipe's settings: enough to run every line of it once."""

from __future__ import annotations

from pathlib import Path

import yaml

from wavcube.experiment.recipe_yaml import read_yaml

#: keys of a YAML that say how much data there is, and what a dry run takes
AMOUNTS = {
    "batch_size": 1,
    "num_workers": 0,
    "crop_seconds": 1.0,
    "synthetic_minutes": 1,
    "valid_utterances": 1,
    "test_utterances": 1,
    "sample_clips": 1,
}


def dry_overrides(path: str | Path, overrides: str) -> str:
    r"""Complete a command line's overrides for a dry run.

    Sizes of the model stay as they are, and the Brain itself makes few updates; here the data
    become few, and the results go to a folder of their own.

    Parameters
    ----------
    path : str or Path
        The recipe's YAML.
    overrides : str
        Of the command line, as YAML; what they say counts.

    Returns
    -------
    str
        Them and what is new, as YAML.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "a.yaml"
    >>> _ = path.write_text("stage2_batch_size: 8\ncrop_seconds: 10\noutput_folder: !ref <x>\n")
    >>> print(dry_overrides(path, "crop_seconds: 0.5"))
    crop_seconds: 0.5
    stage2_batch_size: 1
    output_folder: results/a/debug
    """
    # composed, not constructed: tags stay what they are
    keys = _keys(read_yaml(path))
    ones = {key: 1 for key in keys if key.endswith("_batch_size")}
    amounts: dict[str, float | str] = {**AMOUNTS, **ones}
    amounts["output_folder"] = f"results/{Path(path).stem}/debug"
    given = _keys(overrides) if overrides else []
    added = [f"{key}: {amounts[key]}" for key in amounts if key in keys and key not in given]
    return "\n".join(filter(None, [overrides, *added]))


def _keys(text: str) -> list[str]:
    return [key.value for key, _ in yaml.compose(text).value]
