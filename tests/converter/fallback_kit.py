# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests of the fallback: models outside the exact families, and ONNX bytes as a hostile child sends."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from sklearn.decomposition import KernelPCA
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import BernoulliNB, GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR, OneClassSVM

from depickle.migrate import ConvertedModel, Converter
from depickle.pickles import Package, VettedPickle, open_package, vet
from depickle.planning import MigrationOptions
from depickle.sandbox import ReferenceAnswers
from depickle.sandbox.converting import Conversion
from depickle.sources import SourceFile, read_source

COLUMNS = 4
SAMPLED = MigrationOptions(
    created=datetime(2026, 1, 2, tzinfo=UTC),
    symbol="EURUSD",
    accept=frozenset(("sampled",)),
    admitted=frozenset(("proven", "certified", "sampled")),
)
EXACT_ONLY = replace(SAMPLED, accept=frozenset())


@functools.cache
def rows() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(240, COLUMNS)) * [1, 10, 0.1, 3] + [1, 50, 0, -2]


@functools.cache
def signs() -> np.ndarray:
    scaled = (rows() - rows().mean(axis=0)) / rows().std(axis=0)
    return np.digitize(scaled[:, 0] + scaled[:, 1] ** 2, [0.3, 1.2]) - 1


def words() -> np.ndarray:
    return np.array(["SELL", "WAIT", "BUY"])[signs() + 1]


def _projected(last: Any) -> Any:
    """`last` behind a transformer that has no exact conversion."""
    return make_pipeline(StandardScaler(), KernelPCA(3), last)


@functools.cache
def models() -> dict[str, Any]:
    """Fitted models that have no exact conversion, by an English name."""
    X, y = rows(), signs()
    return {
        "naive Bayes": _projected(GaussianNB()).fit(X, y),
        "naive Bayes of truth values": _projected(BernoulliNB(binarize=0.5)).fit(X, y),
        "quadratic discriminant, words as labels": _projected(QuadraticDiscriminantAnalysis()).fit(
            X, words()
        ),
        "support vectors behind a kernel projection": make_pipeline(
            StandardScaler(), KernelPCA(3), SVC()
        ).fit(X, y),
        "a kernel projection": make_pipeline(KernelPCA(3), LogisticRegression(max_iter=300)).fit(X, words()),
        "support vector regression": make_pipeline(StandardScaler(), KernelPCA(3), SVR()).fit(
            X, X[:, 0] ** 2
        ),
        "one class": make_pipeline(StandardScaler(), KernelPCA(3), OneClassSVM()).fit(X),
    }


def source(model: Any, folder: Path) -> SourceFile:
    path = folder / "EURUSD_model_20250108.pkl"
    path.write_bytes(pickle.dumps(model))
    return read_source(path)


def opened(model: Any) -> tuple[VettedPickle, Package]:
    vetted = vet(pickle.dumps(model))
    return vetted, open_package(vetted)


def converted(converter: Converter, model: Any, folder: Path) -> ConvertedModel:
    return converter.convert(source(model, folder))


class LyingWorker:
    """Stands for a converting worker whose child was taken over: it sends what a test wants it to send."""

    def __init__(self, model: Any, forged: bytes | Callable[[str], bytes]) -> None:
        self.model = model
        self.forged = forged
        self.asked = 0
        self.closed = False

    def __enter__(self) -> LyingWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def convert(self, _vetted: Any, _path: Any, *, columns: int, dtype: str) -> Conversion:
        assert columns == COLUMNS
        self.asked += 1
        data = self.forged if isinstance(self.forged, bytes) else self.forged(dtype)
        return Conversion(data, 0.0, 0.0)

    def answers(
        self, _vetted: Any, _path: Any, given: np.ndarray, *, methods: tuple[str, ...]
    ) -> ReferenceAnswers:
        found = {m: getattr(self.model, m)(given) if hasattr(self.model, m) else None for m in methods}
        return ReferenceAnswers(found["predict"], found.get("predict_proba"), found.get("decision_function"))


def constant_label(label: int | str, dtype: str = "float64", **model_fields: Any) -> bytes:
    """An ONNX model that answers every row with `label`."""
    if isinstance(label, str):
        zero = TensorProto(
            data_type=TensorProto.STRING, dims=[1], string_data=[label.encode()], name="answer"
        )
        kind = TensorProto.STRING
    else:
        zero = helper.make_tensor("answer", TensorProto.INT64, [1], [label])
        kind = TensorProto.INT64
    nodes = [
        helper.make_node("Shape", ["X"], ["size"], start=0, end=1),
        helper.make_node("Expand", ["answer", "size"], ["label"]),
    ]
    return model_bytes(nodes, [zero], dtype=dtype, kind=kind, **model_fields)


def model_bytes(
    nodes: list[onnx.NodeProto],
    initializers: list[TensorProto] | None = None,
    *,
    dtype: str = "float64",
    kind: int = TensorProto.INT64,
    opset: int = 18,
    **fields: Any,
) -> bytes:
    element = TensorProto.DOUBLE if dtype == "float64" else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "forged",
        [helper.make_tensor_value_info("X", element, [None, COLUMNS])],
        [helper.make_tensor_value_info("label", kind, [None])],
        initializers or [],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    return bytes(helper.make_model(graph, opset_imports=imports, ir_version=8, **fields).SerializeToString())
