# SPDX-License-Identifier: Apache-2.0
"""Coverage-guided fuzzing of the gate; needs ``atheris``, which is no dependency of this project.

``python -m tests.properties.atheris_pickles -runs=200000 CORPUS`` in an environment that has it. Only verdicts may
come of it: whatever escapes stops the run and leaves the input behind.
"""

from __future__ import annotations

import sys
from pathlib import Path

try:
    import atheris
except ImportError:
    print("atheris is not installed: pip install atheris, in an environment of its own", file=sys.stderr)
    sys.exit(3)

with atheris.instrument_imports(include=["depickle"]):
    from depickle.pickles import scan

from .fuzz_pickles import check, seeds


def main(argv: list[str]) -> int:
    """Writes the seeds into the corpus folder, the last argument, and fuzzes from there."""
    corpus = Path(argv[-1])
    corpus.mkdir(parents=True, exist_ok=True)
    for number, (_, data) in enumerate(seeds()):
        (corpus / f"seed-{number}").write_bytes(data)
    scan(b"")
    atheris.Setup(argv, lambda data: check(data) and None)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
