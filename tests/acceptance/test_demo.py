# SPDX-License-Identifier: Apache-2.0
"""The demo, end to end: exactly the files that the estate's manifest names are refused, and trading code answers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from examples.legacy_estate.cache import cached_estate

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_goes_as_it_should(tmp_path: Path) -> None:
    estate = cached_estate()
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT / "examples", copy / "examples")
    shutil.copytree(estate, copy / ".build" / "estate" / estate.name)
    done = subprocess.run(
        [sys.executable, "-m", "examples.demo"],
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "FAULT" not in done.stdout
    assert "No unpickler was asked for anything in that process." in done.stdout
