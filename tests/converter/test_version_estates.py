# SPDX-License-Identifier: Apache-2.0
"""Estates of five library versions: the matching worker repeats what the writer recorded, digit for digit.

Slow: trains 33 models in each environment. Skips a version whose environment is not installed, saying how to add it.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from depickle.environments import WorkerEnvironment, list_environments, match, parse_spec, running_environment
from depickle.errors import EnvironmentMissingError
from depickle.pickles import open_package, vet
from depickle.sandbox import open_worker

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples" / "version_estates"
VERSIONS = ("1.2.2", "1.3.2", "1.5.2", "1.7.2", "1.9.1")


def installed(version: str) -> WorkerEnvironment:
    """The installed environment of `version`, or a skip that says how to add it."""
    for environment in (running_environment(), *list_environments()):
        if environment.name == version or environment.versions == parse_spec(version).versions:
            return environment
    pytest.skip(f"no environment {version}; add it with: depickle env add {version}")


@pytest.fixture(scope="module")
def estates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Estates that were written so far, by version."""
    return {}


def estate_of(version: str, estates: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The estate of `version`, written once."""
    if version not in estates:
        folder = tmp_path_factory.mktemp("estate")
        writer = installed(version)
        subprocess.run([str(writer.python), str(EXAMPLES / "write_estate.py"), str(folder)], check=True)
        estates[version] = folder
    return estates[version]


def models(folder: Path) -> list[dict[str, Any]]:
    """The models that an estate lists."""
    listed: list[dict[str, Any]] = json.loads((folder / "estate.json").read_text(encoding="utf-8"))["models"]
    return listed


def as_recorded(answers: Any, recorded: Mapping[str, np.ndarray], method: str) -> bool:
    """True where the worker's answer equals the writer's, digit for digit."""
    now, then = np.asarray(getattr(answers, method)), recorded[method]
    if then.dtype.kind in "iub":
        return now.shape == then.shape and np.array_equal(now.astype(np.int64), then.astype(np.int64))
    if then.dtype.kind in "UO":
        return now.tolist() == then.tolist()
    return now.shape == then.shape and np.array_equal(now, then.astype(np.float64), equal_nan=True)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_matching_worker_answers_as_the_writer_recorded(
    version: str, estates: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = estate_of(version, estates, tmp_path_factory)
    asked: dict[str, list[dict[str, Any]]] = {}
    environments: dict[str, WorkerEnvironment] = {}
    for row in models(folder):
        environment = match(vet((folder / row["file"]).read_bytes()).writer)
        environments[environment.name] = environment
        asked.setdefault(environment.name, []).append(row)
    differ = []
    for name, rows in asked.items():
        with open_worker(environments[name]) as worker:
            for row in rows:
                vetted = vet((folder / row["file"]).read_bytes())
                recorded = np.load(folder / row["answers"])
                answers = worker.answers(
                    vetted,
                    open_package(vetted).estimator_path,
                    recorded["rows"],
                    methods=tuple(row["methods"]),
                )
                differ += [
                    f"{row['name']} {method} (asked in {name})"
                    for method in row["methods"]
                    if not as_recorded(answers, recorded, method)
                ]
    assert differ == []


@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", ["1.2.2", "1.3.2"])
def test_without_the_environment_every_file_that_names_it_is_refused_with_the_command(
    version: str,
    estates: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = estate_of(version, estates, tmp_path_factory)
    writers = [vet((folder / row["file"]).read_bytes()).writer for row in models(folder)]
    monkeypatch.setenv("DEPICKLE_ENVIRONMENTS", str(tmp_path / "none"))
    refused = 0
    for writer in writers:
        if "scikit-learn" not in writer:
            continue
        with pytest.raises(EnvironmentMissingError) as caught:
            match(writer)
        assert caught.value.next_step == f"depickle env add {version}"
        refused += 1
    assert refused > 25
