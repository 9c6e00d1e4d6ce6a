# SPDX-License-Identifier: Apache-2.0
"""The trading host needs no unpickler: the runtime works without one, and nothing in it looks for a class."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from depickle_runtime.trust import encode_policy
from tests.attacks import onnx_corpus as corpus
from tests.runtime.signal_store import CATALOGUE_FEATURES, SignalStore

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


def test_importing_the_package_imports_neither_numpy_nor_pickle() -> None:
    done = run(
        "import sys, depickle_runtime, depickle_runtime.lockdown\n"
        "print(sorted({'numpy', 'pickle', 'onnxruntime', 'talib'} & set(sys.modules)))\n"
        "print(sorted(set(depickle_runtime.__all__) - set(dir(depickle_runtime))))\n"
        "print([n for n in depickle_runtime.__all__ if getattr(depickle_runtime, n).__name__ != n])\n"
        "print(hasattr(depickle_runtime, 'nothing_of_the_kind'))\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["[]", "[]", "[]", "False"]


TRADE = """
from depickle_runtime import create_secure_ml_predictor
sys.path.insert(0, sys.argv[1])
from tests.runtime.bars_sim import synthetic_columns
predictor = create_secure_ml_predictor(sys.argv[2] + "/models", sys.argv[2] + "/data/trades.db", environ={},
    trust_policy=sys.argv[2] + "/policy.json", feature_engineer=lambda data: {"a": 0.5, "b": -1.0, "c": 2.0})
assert not predictor.failures, predictor.failures
for k in range(100):
    for symbol in ("EURUSD", "GBPUSD"):
        confidence, details = predictor.predict_signal(symbol, synthetic_columns(300))
        assert confidence is not None, details
assert predictor.close() == 0
"""

NO_PANDAS = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'", name="pandas")
sys.meta_path.insert(0, Absent())
"""


@pytest.mark.parametrize("pandas", [True, False], ids=["with pandas", "without pandas"])
def test_strict_mode_before_numpy_is_complete_and_the_whole_runtime_works_in_it(
    pandas: bool, tmp_path: Path
) -> None:
    store = SignalStore(tmp_path)
    store.publish(store.artefact("EURUSD"), store.artefact("GBPUSD", features=CATALOGUE_FEATURES))
    store.policy_path.write_bytes(encode_policy(store.policy))
    script = ("import sys\n" if pandas else NO_PANDAS) + LOCKED + "assert outcome.complete, outcome\n" + TRADE
    script += f"assert ('pandas' in sys.modules) is {pandas}, 'TA-Lib imports pandas where it is installed'\n"
    script += refuses("__import__('pickle').loads(b'')")
    if pandas:
        script += refuses("__import__('pandas').read_pickle(sys.argv[2] + '/policy.json')")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, str(Path(__file__).parents[2]), str(tmp_path)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_strict_mode_does_not_mislead_libraries_that_look_for_what_is_installed() -> None:
    script = LOCKED + (
        "from importlib.util import find_spec\n"
        "print(find_spec('pickle').name, find_spec('cPickle'), find_spec('joblib') is not None)\n"
        "try:\n    import cPickle\nexcept ModuleNotFoundError:\n    print('absent')\n"
    )
    done = run(script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["pickle", "None", "True", "absent"]


def test_strict_mode_reaches_a_function_that_was_taken_earlier() -> None:
    script = "import sys\nfrom pickle import loads as taken\n" + LOCKED
    script += refuses("taken(b'cos\\nsystem\\n(S\"true\"\\ntR.')")
    script += "\nassert 'pickle' in outcome.imported_before and not outcome.complete\nprint('locked')"
    done = run(script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "locked"
