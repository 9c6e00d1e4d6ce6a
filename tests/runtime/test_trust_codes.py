# SPDX-License-Identifier: Apache-2.0
"""Every code that the trust modules raise is documented, with a sentence."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUNTIME = "trust settings release metadata state store audit_log verification probes survey loader"
CONVERTER = "signing keys publishing"


def test_every_code_is_documented() -> None:
    files = [ROOT / "runtime/depickle_runtime" / f"{name}.py" for name in RUNTIME.split()]
    files += [ROOT / "converter/depickle" / f"{name}.py" for name in CONVERTER.split()]
    used = {code for file in files for code in re.findall(r'"(DP\d{3})"', file.read_text())}
    documents = [*(ROOT / "docs").glob("errors.md"), *(ROOT / "docs/errors").glob("*.md")]
    text = "\n".join(document.read_text() for document in documents)
    documented = set(re.findall(r"^## (DP\d{3})\n\n\S", text, re.MULTILINE))
    assert len(used) > 60
    assert used - documented == set()
