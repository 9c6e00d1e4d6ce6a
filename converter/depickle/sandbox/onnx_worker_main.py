# SPDX-License-Identifier: Apache-2.0
"""The confined worker that can also convert: `worker_main`, with skl2onnx imported before it forks.

A second program and not a part of the first: only the environment that runs depickle has the converters, no ordinary
model needs them, and they cost 0.8 s of processor time on top of 4.7 s. Everything that the converters import or
look up on first use is made to happen in the warm process: a child cannot import any more.

What a child returns are ONNX bytes of its own making. The launcher treats them as hostile.
"""

from __future__ import annotations

import importlib.util
import io
import sys
import time
from pathlib import Path
from typing import Any, Mapping  # noqa: UP035  # like worker_main


def _beside() -> Any:
    """`worker_main.py` of the same folder; ``-I`` keeps that folder off the path."""
    spec = importlib.util.spec_from_file_location("worker_main", Path(__file__).with_name("worker_main.py"))
    if spec is None or spec.loader is None:
        raise ImportError("worker_main.py is not beside this file")
    module = importlib.util.module_from_spec(spec)
    sys.modules["worker_main"] = module
    spec.loader.exec_module(module)
    return module


worker_main = _beside()

OPSETS = {"": 18, "ai.onnx.ml": 3}
"""Operator sets that every converter knows and that the ONNX gate admits; everything is converted for them.

The converters of LightGBM and XGBoost are left out on purpose: they round thresholds to float32 without a word, and
those models are emitted from the inert graph or refused.
"""
_SEARCHES = ("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV")
_MAX_DETAIL = 300


def to_onnx(estimator: Any, columns: int, dtype: str) -> bytes:
    """`estimator` as skl2onnx converts it, for one input ``X`` of `columns` columns; never with a ZipMap."""
    from skl2onnx import convert_sklearn
    from skl2onnx._supported_operators import _get_sklearn_operator_name
    from skl2onnx.common._registration import _converter_pool
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    while type(estimator).__name__ in _SEARCHES and type(estimator).__module__.startswith("sklearn."):
        estimator = estimator.best_estimator_
    last = estimator
    while type(last).__name__ == "Pipeline" and type(last).__module__.startswith("sklearn."):
        last = last.steps[-1][1]
    known = _converter_pool[_get_sklearn_operator_name(type(last))].get_allowed_options() or {}
    options = {id(last): {"zipmap": False}} if "zipmap" in known else None
    tensor = {"float64": DoubleTensorType, "float32": FloatTensorType}[dtype]
    model = convert_sklearn(
        estimator,
        name="model",
        initial_types=[("X", tensor([None, columns]))],
        target_opset=OPSETS,
        options=options,
    )
    made: bytes = model.SerializeToString()
    return made


def convert(request: Mapping[str, Any], stream: bytes, _rows: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Rebuild the model of `stream` and convert it; the reply's header and the bytes.

    Raises:
        RefusedError: of kind ``conversion`` where the converter refuses; as `worker_main.answer` otherwise.
    """
    policy = {(module, name): role for module, name, role in request["globals"]}
    began = time.perf_counter()
    root = worker_main.load_stream(stream, joblib=request["container"] == "joblib", policy=policy)
    estimator = worker_main.navigate(root, request["path"])
    worker_main.settle(estimator)
    loaded = time.perf_counter()
    # The converters write to standard output and standard error, which lead nowhere here.
    sys.stdout = sys.stderr = io.StringIO()
    try:
        made = to_onnx(estimator, request["columns"], request["dtype"])
    except MemoryError:
        raise
    except Exception as error:
        detail = " ".join(str(error).split())[:_MAX_DETAIL]
        raise worker_main.RefusedError("conversion", f"{type(error).__name__}: {detail}") from error
    timing = {"load": loaded - began, "answer": time.perf_counter() - loaded}
    header = {
        "version": worker_main.PROTOCOL_VERSION,
        "status": "ok",
        "onnx_bytes": len(made),
        "seconds": timing,
    }
    return header, [made]


def prepare() -> None:
    """Import the converters and convert one model of each kind, so that a child has nothing left to import.

    Raises:
        RefusedError: of kind ``converter`` where skl2onnx is not installed.
    """
    try:
        import skl2onnx  # noqa: F401  # registers its converters
    except ImportError as error:
        raise worker_main.RefusedError("converter", str(error)) from error
    import numpy
    import packaging.version  # noqa: F401  # AdaBoost's converter imports it late
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PowerTransformer, StandardScaler
    from sklearn.svm import SVC, SVR

    X = numpy.random.RandomState(0).normal(size=(24, 3))
    y = (X[:, 0] > 0).astype(int)
    models = [
        make_pipeline(StandardScaler(), GaussianNB()),
        make_pipeline(StandardScaler(), LogisticRegression()),
        SVC(),
        Ridge(),
        MLPClassifier((2,), max_iter=2),
        LinearDiscriminantAnalysis(),
        QuadraticDiscriminantAnalysis(),
    ]
    for model in models:
        for dtype in ("float64", "float32"):
            to_onnx(model.fit(X, y), 3, dtype)
    for model in (SVR(), make_pipeline(PowerTransformer(), Ridge())):  # these two do not convert in double
        to_onnx(model.fit(X, y), 3, "float32")
    worker_main.QUESTIONS["onnx"] = convert


if __name__ == "__main__":
    sys.exit(worker_main.main(sys.argv[1:], prepare))
