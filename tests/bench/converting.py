# SPDX-License-Identifier: Apache-2.0
"""What a conversion costs beside skl2onnx's, in one run: time, peak memory, file size, latency.

Ours starts from the bytes of a pickle (gate, inert graph, typed model, emission; the proof is timed apart); theirs
from the same bytes, unpickled. Each conversion runs in a process of its own, whose peak memory is read above that of
a process which has imported the same libraries and done nothing.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from .timing import print_table, seconds_per_call

__all__ = ["bench_conversion"]

FEATURES = 20
ROWS = 4_000
BATCH = 2_000


def _models() -> dict[str, Callable[[], Any]]:
    from lightgbm import LGBMClassifier
    from sklearn.ensemble import (
        GradientBoostingClassifier,
        HistGradientBoostingClassifier,
        RandomForestClassifier,
    )
    from sklearn.linear_model import LogisticRegression
    from xgboost import XGBClassifier

    return {
        "RF 300 x 10": lambda: RandomForestClassifier(300, max_depth=10, random_state=0),
        "RF 1000 x 20": lambda: RandomForestClassifier(1000, max_depth=20, random_state=0),
        "GB 200": lambda: GradientBoostingClassifier(n_estimators=200, random_state=0),
        "HistGB 200": lambda: HistGradientBoostingClassifier(max_iter=200, early_stopping=False),
        "LGBM 200": lambda: LGBMClassifier(n_estimators=200, verbose=-1, n_jobs=1),
        "XGB 200": lambda: XGBClassifier(n_estimators=200, n_jobs=1),
        "LR": lambda: LogisticRegression(),
    }


def bench_conversion() -> None:
    """Converts seven models both ways and prints the table."""
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((ROWS, FEATURES))
    labels = (rows[:, 0] * rows[:, 1] + 0.3 * generator.standard_normal(ROWS) > 0).astype(int)
    table = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        idle = {tool: _convert(tool, None, folder)["peak"] for tool in ("depickle", "skl2onnx")}
        for model_name, make in _models().items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                estimator = make().fit(rows, labels)
                source = folder / "model.pkl"
                source.write_bytes(pickle.dumps(estimator, protocol=5))
                found = {tool: _convert(tool, source, folder) for tool in ("depickle", "skl2onnx")}
            table.append(_row(model_name, folder, found, idle, rows))
    head = ("model", "", "convert ms", "proof ms", "peak MB", "file MB", "one row us", f"{BATCH} rows ms")
    print_table("Conversion, depickle beside skl2onnx", head, [line for lines in table for line in lines])


def _row(
    name: str, folder: Path, found: dict[str, Any], idle: dict[str, int], rows: np.ndarray
) -> list[tuple[str, ...]]:
    lines = []
    for tool, dtype in (("depickle", np.float64), ("skl2onnx", np.float32)):
        result = found[tool]
        if "error" in result:
            lines.append((name, tool, result["error"][:40], "", "", "", "", ""))
            continue
        session = _session(folder / f"{tool}.onnx")
        feed = session.get_inputs()[0].name
        one, many = rows[:1].astype(dtype), rows[:BATCH].astype(dtype)
        wanted = [output.name for output in session.get_outputs() if "label" not in output.name]
        single = seconds_per_call(lambda s=session, w=wanted, f=feed, x=one: s.run(w, {f: x}))
        batch = seconds_per_call(lambda s=session, w=wanted, f=feed, x=many: s.run(w, {f: x}))
        lines.append(
            (
                name,
                tool,
                f"{result['convert'] * 1e3:.0f}",
                "" if result["proof"] is None else f"{result['proof'] * 1e3:.0f}",
                f"{(result['peak'] - idle[tool]) / 1024:.0f}",
                f"{(folder / f'{tool}.onnx').stat().st_size / 1e6:.2f}",
                f"{single * 1e6:.1f}",
                f"{batch * 1e3:.1f}",
            )
        )
    return lines


def _session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])


def _convert(tool: str, source: Path | None, folder: Path) -> Any:
    command = [sys.executable, "-W", "ignore", "-m", "tests.bench.converting", tool, str(folder)]
    done = subprocess.run(
        command + ([str(source)] if source else []), capture_output=True, text=True, check=False
    )
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1], "peak": 0}
    return json.loads(done.stdout.splitlines()[-1])


def _child(tool: str, folder: Path, source: Path | None) -> None:
    """One conversion: prints seconds and the peak resident size in KiB."""
    import time

    convert = _with_depickle() if tool == "depickle" else _with_skl2onnx()
    seconds, proof = 0.0, None
    if source is not None:
        data = source.read_bytes()
        started = time.perf_counter()
        onnx, prove = convert(data)
        seconds = time.perf_counter() - started
        (folder / f"{tool}.onnx").write_bytes(onnx)
        if prove is not None:
            started = time.perf_counter()
            prove()
            proof = time.perf_counter() - started
    status = Path("/proc/self/status").read_text()  # unlike ru_maxrss it starts anew at exec
    peak = int(status.split("VmHWM:")[1].split()[0])
    print(json.dumps({"convert": seconds, "proof": proof, "peak": peak}))


def _with_depickle() -> Callable[[bytes], tuple[bytes, Callable[[], object] | None]]:
    from depickle.emit import emit_onnx
    from depickle.models import read_model
    from depickle.parity.proof import prove
    from depickle.pickles import open_package, vet

    def convert(data: bytes) -> tuple[bytes, Callable[[], object] | None]:
        vetted = vet(data)
        estimator = open_package(vetted).estimator
        emitted = emit_onnx(read_model(estimator, writer=vetted.writer))

        def check() -> object:
            return prove(
                estimator, emitted.onnx, outputs=emitted.outputs, writer=vetted.writer, where="bench"
            )

        return emitted.onnx, check

    return convert


def _with_skl2onnx() -> Callable[[bytes], tuple[bytes, Callable[[], object] | None]]:
    import lightgbm
    import xgboost
    from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
    from skl2onnx import to_onnx, update_registered_converter
    from skl2onnx.common.data_types import FloatTensorType
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes

    options = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
    for cls, converter in (
        (lightgbm.LGBMClassifier, convert_lightgbm),
        (xgboost.XGBClassifier, convert_xgboost),
    ):
        update_registered_converter(
            cls, cls.__name__, calculate_linear_classifier_output_shapes, converter, options=options
        )

    def convert(data: bytes) -> tuple[bytes, Callable[[], object] | None]:
        estimator = pickle.loads(data)
        target = {"": 18, "ai.onnx.ml": 3}
        model = to_onnx(
            estimator,
            initial_types=[("X", FloatTensorType([None, FEATURES]))],
            options={id(estimator): {"zipmap": False}},
            target_opset=target,
        )
        return model.SerializeToString(), None

    return convert


if __name__ == "__main__":
    _child(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
