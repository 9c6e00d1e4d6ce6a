# SPDX-License-Identifier: Apache-2.0
"""Honest files of releases that no policy was generated from are accepted, at least 995 in 1000, in every release.

Slow: trains some 430 objects per release. Skips a release whose environment is not installed, saying how to add it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from depickle.environments import list_environments

from . import honest_corpus

pytestmark = pytest.mark.slow

LEAST_ACCEPTED = 0.995


@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", ["1.2.1", "1.3.0", "1.4.2", "1.5.1", "1.6.1", "1.7.1", "1.8.0", "1.9.0"])
def test_honest_files_are_accepted(version: str, tmp_path: Path) -> None:
    writer = next((each for each in list_environments() if each.name == version), None)
    if writer is None:
        pytest.skip(f"no environment {version}; add it with: depickle env add {version}")
    command = [str(writer.python), str(honest_corpus.__file__), "write", str(tmp_path / version)]
    subprocess.run(command, check=True, capture_output=True)
    row = honest_corpus.measure(tmp_path)["corpora"][version]
    assert row["files"] > 800
    assert row["accepted"] >= LEAST_ACCEPTED * row["files"], row["refused"]
