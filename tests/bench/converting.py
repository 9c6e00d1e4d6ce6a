# SPDX-License-Identifier: Apache-2.0
"""What a conversion costs beside skl2onnx's, in one run: time, peak memory, file size, latency.

Ours starts from the bytes of a pickle (gate, inert graph, typed model, emission; the proof is timed apart); theirs
from the same bytes, unpickled. Each conversion runs in a process of its own, whose peak memory is read above that of
a process which has imported the same libraries and done nothing.
"""

from __future__ import annotations

import json
import os
import pickle
import platform
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from .timing import paired_seconds, print_table

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


def bench_conversion(output: Path | None = None) -> None:
    """Converts seven models both ways and prints the table, or writes it as a document."""
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((ROWS, FEATURES))
    labels = (rows[:, 0] * rows[:, 1] + 0.3 * generator.standard_normal(ROWS) > 0).astype(int)
    table: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        idle = {tool: _convert(tool, None, folder)["peak"] for tool in TOOLS}
        for model_name, make in _models().items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                estimator = make().fit(rows, labels)
                source = folder / "model.pkl"
                source.write_bytes(pickle.dumps(estimator, protocol=5))
                found = {tool: _convert(tool, source, folder) for tool in TOOLS}
            table += _lines(model_name, folder, found, idle, rows)
    if output is None:
        print_table("Conversion, depickle beside skl2onnx", HEAD, table)
    else:
        output.write_text(_document(table), encoding="utf-8")


TOOLS = ("depickle", "skl2onnx")
HEAD = ("model", "", "convert ms", "proof ms", "peak MB", "file MB", "one row us", f"{BATCH} rows ms")


def _lines(
    name: str, folder: Path, found: dict[str, Any], idle: dict[str, int], rows: np.ndarray
) -> list[tuple[str, ...]]:
    failed = [tool for tool in TOOLS if "error" in found[tool]]
    if failed:
        return [(name, tool, found[tool]["error"][:60], "", "", "", "", "") for tool in failed]
    runs = [_run_of(folder, tool) for tool in TOOLS]
    one = paired_seconds(*(_one_by_one(run, rows) for run in runs))
    many = paired_seconds(*(partial(run, rows[:BATCH]) for run in runs), rounds=9)
    figures = []
    for tool in TOOLS:
        peak = (found[tool]["peak"] - idle[tool]) / 1024
        size = (folder / f"{tool}.onnx").stat().st_size / 1e6
        figures.append((found[tool]["convert"] * 1e3, peak, size))
    lines = []
    for side, tool in enumerate(TOOLS):
        convert, peak, size = figures[side]
        proof = found[tool]["proof"]
        lines.append(
            (
                name, tool, f"{convert:.0f}", "" if proof is None else f"{proof * 1e3:.0f}", f"{peak:.0f}",
                f"{size:.2f}", f"{one[side] * 1e6:.1f}", f"{many[side] * 1e3:.1f}",
            )
        )  # fmt: skip
    ratios = [ours / theirs if theirs > 0 else float("nan") for ours, theirs in zip(*figures, strict=True)]
    lines.append(
        (
            "", "ratio", f"{ratios[0]:.2f}", "", f"{ratios[1]:.2f}", f"{ratios[2]:.2f}",
            f"{one[2]:.2f}", f"{many[2]:.2f}",
        )
    )  # fmt: skip
    return lines


def _one_by_one(run: Callable[[np.ndarray], object], rows: np.ndarray) -> Callable[[], object]:
    """Another row at every call, as bars come: a row asked again finds its leaves in the cache."""
    turn = cycle([rows[place : place + 1] for place in range(len(rows))])
    return lambda: run(next(turn))


def _run_of(folder: Path, tool: str) -> Callable[[np.ndarray], object]:
    """One run of a file, labels left out: ours as the runtime runs it, theirs as onnxruntime does by itself."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    if tool == "depickle":
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    data = (folder / f"{tool}.onnx").read_bytes()
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    feed = session.get_inputs()[0].name
    dtype = np.float64 if tool == "depickle" else np.float32
    wanted = [output.name for output in session.get_outputs() if "label" not in output.name]
    return lambda rows: session.run(wanted, {feed: rows.astype(dtype)})


def _document(table: list[tuple[str, ...]]) -> str:
    libraries = ("scikit-learn", "lightgbm", "xgboost", "skl2onnx", "onnxmltools", "onnxruntime", "numpy")
    return "\n".join(
        [
            "<!-- SPDX-License-Identifier: Apache-2.0 -->",
            "# What a conversion costs, beside skl2onnx",
            "",
            "Written by `python -m tests.bench.converting -o docs/costs.md` in one run; do not edit. Measured with",
            f"{', '.join(f'{name} {version(name)}' for name in libraries)},",
            f"Python {platform.python_version()} on {platform.machine()} with {os.cpu_count()} cores.",
            "",
            f"* Models of {FEATURES} columns and {ROWS:,} rows of two classes. Ours answer in double, with labels as",
            "  the original's; theirs in float32, as their documentation shows.",
            "* **convert**: from the bytes of the pickle to those of the ONNX file; ours through the gate, theirs",
            "  unpickled. **proof**: walking the file against its source, which they have not.",
            "* **peak**: memory above that of a process which has imported the same libraries and done nothing.",
            f"* **one row**, **{BATCH:,} rows**: a run without the label, one thread, another row at every call; the",
            "  two take turns, and the ratio is the median over them, which holds where microseconds do not.",
            "* HistGB: skl2onnx raises as it is, since protobuf 7 takes no numpy booleans; they were made numbers.",
            "",
            f"| {' | '.join(HEAD)} |",
            f"|{'---|' * len(HEAD)}",
            *(f"| {' | '.join(line)} |" for line in table),
            "",
        ]
    )


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
    import skl2onnx.common.tree_ensemble as ensembles
    import xgboost
    from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
    from skl2onnx import to_onnx, update_registered_converter
    from skl2onnx.common.data_types import FloatTensorType
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes

    add_node = ensembles.add_node

    def add(*arguments: Any, nodes_missing_value_tracks_true: Any = 0, **more: Any) -> None:
        """Its numpy booleans are none of the numbers that protobuf 7 takes; without this HistGB does not convert."""
        add_node(*arguments, nodes_missing_value_tracks_true=int(nodes_missing_value_tracks_true), **more)

    ensembles.add_node = add
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
    match sys.argv[1:]:
        case []:
            bench_conversion()
        case ["-o", path]:
            bench_conversion(Path(path))
        case [tool, folder, *source]:
            _child(tool, Path(folder), Path(source[0]) if source else None)
