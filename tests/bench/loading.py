# SPDX-License-Identifier: Apache-2.0
"""Large forests: verified load from a signed store against a bare load of the same file by its path."""

from __future__ import annotations

import dataclasses
import json
import logging
import pickle
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime as ort
from sklearn.ensemble import ExtraTreesClassifier

from depickle.emit import EmittedModel, emit_onnx
from depickle.models import read_model
from depickle.pickles import open_package, vet
from depickle_runtime.metadata import describe_artefact, encode_metadata
from tests.model_store_sim import StoreSimulator, linear_record

from .timing import print_table

__all__ = ["bench_large_loads"]

_SHAPES = {"1 MB": (40, 1000), "10 MB": (100, 4000), "50 MB": (200, 10_000)}
"""Size of the ONNX file: trees, and rows that each of them learns by heart."""
_COLUMNS = 16
_TURNS = 9


def _forest(trees: int, rows: int) -> EmittedModel:
    generator = np.random.default_rng(0)
    X, y = generator.normal(size=(rows, _COLUMNS)), generator.integers(0, 2, rows)
    vetted = vet(pickle.dumps(ExtraTreesClassifier(trees, random_state=0).fit(X, y)))
    return emit_onnx(read_model(open_package(vetted).estimator, writer=vetted.writer))


def _bare(data: bytes | str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _publish(store: StoreSimulator, model: EmittedModel) -> str:
    """Publishes the model as the simulator's own; its name in the store."""
    artefact = store.artefact()
    rows = np.random.default_rng(1).normal(size=(4, _COLUMNS)).astype(np.float32)
    wanted = [model.outputs.class_index, model.outputs.probabilities]
    index, chances = _bare(model.onnx).run(wanted, {"X": rows.astype(model.input.graph_dtype)})
    record = linear_record(
        artefact.stem,
        artefact.symbol,
        input=msgspec.to_builtins(model.input),
        outputs=msgspec.to_builtins(model.outputs),
        features={"kind": "caller", "catalogue": None, "names": None},
        probes={
            "rows": [[float(x).hex() for x in row] for row in rows],
            "class_index": index.tolist(),
            "probabilities": [[float(x).hex() for x in row] for row in chances],
            "scores": None,
        },
    )
    described = describe_artefact(
        model.onnx, model_name="forest", version="1", created_at="2025-01-08T12:00:00Z", model_type="onnx",
        feature_names=None, performance_metrics=None,
    )  # fmt: skip
    name = f"{artefact.stem}.onnx"
    store.publish(
        dataclasses.replace(
            artefact,
            onnx=model.onnx,
            metadata={name: encode_metadata(described)},
            record=json.dumps(record).encode(),
        )
    )
    return name


def _seconds(load: Callable[[], object]) -> float:
    started = time.perf_counter()
    load()
    return time.perf_counter() - started


def bench_large_loads() -> None:
    """From a file in the store to something that answers, by size of the file."""
    logging.getLogger("depickle_runtime.state").setLevel(logging.ERROR)  # the first use is announced loudly
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        store = StoreSimulator(Path(folder))
        for trees, samples in _SHAPES.values():
            name = _publish(store, _forest(trees, samples))
            path, loader = store.path(name), store.loader()
            # In turns, and the median of the ratios: a load of seconds meets whatever else the machine does.
            pairs = [
                (_seconds(lambda p=path: _bare(str(p))), _seconds(lambda i=loader, n=name: i.load_model(n)))
                for _ in range(_TURNS)
            ]
            bare, verified = (statistics.median(times) for times in zip(*pairs, strict=True))
            ratio = statistics.median(v / b for b, v in pairs)
            size = f"{path.stat().st_size / 1e6:.1f}"
            rows.append(
                [f"{trees} trees", size, f"{bare * 1e3:.1f}", f"{verified * 1e3:.1f}", f"{ratio:.2f}"]
            )
    print_table(
        "Loading a large forest", ["", "MB", "bare by path, ms", "verified, ms", "verified ÷ bare"], rows
    )
