# SPDX-License-Identifier: Apache-2.0
"""The trading host needs no unpickler: the runtime works without one, and nothing in it looks for a class."""

from __future__ import annotations

import subprocess
import sys

from tests.attacks import onnx_corpus as corpus

PREDICT = """
import numpy as np
from depickle_runtime.onnx_gate import check_onnx
from depickle_runtime.record import InputContract, OutputNames
from depickle_runtime.session import open_session
contract = InputContract(name="X", dtype="float64", graph_dtype="float64", features=4, allow_nan=False,
                         allow_infinite=False, max_abs=None)
outputs = OutputNames(label=None, class_index=None, probabilities=None, scores="Y")
session = open_session(check_onnx(bytes.fromhex(sys.stdin.read())), contract=contract, outputs=outputs)
for k in range(100):
    assert session.run_row(np.full(4, k / 10.0)).scores.shape == (1, 2)
assert session.run(np.zeros((3, 4))).scores.shape == (3, 2)
"""

BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"sklearn", "joblib", "skops", "pandas", "onnx", "skl2onnx", "depickle"}:
            raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Blocked())
"""

WATCH = """
import sys
seen = []
sys.addaudithook(lambda event, args: seen.append(args) if event.startswith("pickle.") else None)
"""


def run(script: str) -> subprocess.CompletedProcess[str]:
    data = corpus.raw(corpus.tree()).hex()
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script], input=data, capture_output=True, text=True, timeout=120
    )


def test_the_runtime_predicts_with_the_converters_libraries_blocked() -> None:
    done = run(BLOCK + PREDICT + "\nprint('predicted')")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "predicted"


def test_no_pickle_event_during_a_session_and_a_hundred_predictions() -> None:
    done = run(WATCH + PREDICT + "\nprint(len(seen))")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "0"


LOCKED = """
import sys
from depickle_runtime.lockdown import lock_down, is_locked_down
from depickle_runtime.errors import UnsafeModelError
early = sys.modules["pickle"].loads if "pickle" in sys.modules else None
outcome = lock_down()
assert is_locked_down() and lock_down() is outcome
"""


def refuses(statement: str) -> str:
    return f"""
try:
    {statement}
except UnsafeModelError as error:
    assert error.code == "DP290", error.code
else:
    raise SystemExit("not refused: {statement.split("(", 1)[0]}")
"""


def test_strict_mode_still_predicts_and_refuses_every_way_to_unpickle() -> None:
    evil = "b'cos\\nsystem\\n(S\"true\"\\ntR.'"
    script = LOCKED + PREDICT + "\nimport io, pickle\n"
    script += refuses(f"pickle.loads({evil})")
    script += refuses(f"pickle.load(io.BytesIO({evil}))")
    script += refuses(f"pickle.Unpickler(io.BytesIO({evil}))")
    script += refuses("type('U', (pickle.Unpickler,), {})(None)")
    script += refuses("__import__('joblib').load('x')")
    script += refuses("__import__('_pickle').loads(b'')")
    script += (
        "\nb = io.BytesIO(); np.save(b, np.zeros(1)); raw = b.getvalue().replace(b\"'<f8'\", b\"'|O' \")\n"
    )
    script += refuses("np.load(io.BytesIO(raw), allow_pickle=True)")
    done = run(script + "\nprint('locked')")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "locked"


def test_strict_mode_reaches_a_function_that_was_taken_earlier() -> None:
    script = "import sys\nfrom pickle import loads as taken\n" + LOCKED
    script += refuses("taken(b'cos\\nsystem\\n(S\"true\"\\ntR.')")
    script += "\nassert 'pickle' in outcome.imported_before and not outcome.complete\nprint('locked')"
    done = run(script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "locked"
