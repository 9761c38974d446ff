"""What the ways to Libri2Mix share: files are checked once, roles share no speaker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wavcube.data.manifest import Utterance
from wavcube.data.mixing.mixtures import MixtureRow, write_mixtures
from wavcube.data.prepare import fingerprint, prepared_manifests, write_prepared
from wavcube.data.scan import BadFile, check_files
from wavcube.data.splits import evenly_spaced, require_disjoint_speakers


def write_manifests(
    rows: Mapping[str, Sequence[MixtureRow]],
    arguments: Mapping[str, Any],
    data_folder: str | Path,
    out_folder: str | Path,
    max_bad_fraction: float,
    progress: bool,
    bad: Sequence[BadFile] = (),
) -> dict[str, Path]:
    """Check every file once, fill in durations, and write; at once when an earlier call has."""
    done = prepared_manifests(out_folder, arguments)
    if done is not None:
        return done
    scan = check_files(
        [Utterance(str(path), 0.0, str(path)) for path in all_files(rows)],
        max_bad_fraction=max_bad_fraction,
        progress=progress,
    )
    durations = {row.wav: row.duration for row in scan.utterances}
    ends = min if arguments["mode"] == "min" else max
    manifests = {
        role: [
            replace(row, duration=ends(durations[wav] for wav in row.sources))
            for row in found
            if all(wav in durations for wav in _files(row))
        ]
        for role, found in rows.items()
    }
    _require_disjoint(manifests)
    return write_prepared(
        out_folder,
        manifests,
        arguments,
        data_root=data_folder,
        bad=[*bad, *scan.bad],
        write=write_mixtures,
    )


def describe(
    arguments: Mapping[str, Any],
    files: Sequence[Path],
    data_folder: str | Path,
    limit: Mapping[str, int | None] | None = None,
) -> dict[str, Any]:
    """Describe what manifests depend on, for `wavcube.data.prepare.prepared_manifests`."""
    folder, limit = str(Path(data_folder).resolve()), dict(limit or {})
    return {**arguments, "data_folder": folder, "limit": limit, "files": fingerprint(files)}


def limited(
    rows: Mapping[str, list[MixtureRow]], limit: Mapping[str, int | None] | None
) -> dict[str, list[MixtureRow]]:
    """Take the first mixtures of the roles that have a limit."""
    return {role: found[: (limit or {}).get(role)] for role, found in rows.items()}


def thinned(
    rows: Mapping[str, list[MixtureRow]], limit: Mapping[str, int | None] | None
) -> dict[str, list[MixtureRow]]:
    """Take mixtures at even distances of the roles that have a limit: sorted ones differ slowly."""
    limits = {role: (limit or {}).get(role) for role in rows}
    return {
        role: found if limits[role] is None else evenly_spaced(found, limits[role])
        for role, found in rows.items()
    }


def all_files(rows: Mapping[str, Sequence[MixtureRow]]) -> list[Path]:
    """List every file that mixtures are made of, once."""
    return sorted({Path(wav) for found in rows.values() for row in found for wav in _files(row)})


def _files(row: MixtureRow) -> list[str]:
    return [wav for wav in (*row.sources, row.noise, row.mixture) if wav]


def _require_disjoint(manifests: Mapping[str, Sequence[MixtureRow]]) -> None:
    require_disjoint_speakers(
        {
            role: [
                Utterance(row.ID, 0.0, row.sources[0], speaker)
                for row in rows
                for speaker in row.spk_id.split("_")
            ]
            for role, rows in manifests.items()
        }
    )
