# SPDX-License-Identifier: Apache-2.0
"""The inert graph is what a plain load gives: arrays, strings, hyperparameters, sharing, to the last bit.

Both sides are written down as the same kind of lines and compared whole, so that nothing is left out on either.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import subprocess
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import joblib
import numpy as np
import pytest
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn import (
    calibration,
    cluster,
    compose,
    cross_decomposition,
    decomposition,
    discriminant_analysis,
    ensemble,
    feature_selection,
    gaussian_process,
    impute,
    isotonic,
    kernel_ridge,
    linear_model,
    mixture,
    model_selection,
    multiclass,
    naive_bayes,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    random_projection,
    svm,
    tree,
)
from xgboost import XGBClassifier, XGBRegressor

from depickle.pickles import (
    Array,
    DictNode,
    Dtype,
    GlobalRef,
    ListNode,
    NumpyScalar,
    Record,
    SetNode,
    TupleNode,
    vet,
)
from examples.legacy_estate.build import FILES
from examples.legacy_estate.cache import cached_estate, estate_manifest
from examples.legacy_estate.engineers import homes

from .live_walk import REMADE, array_digest, digest, digest_of, dtype_text, live_lines, scalar_line

_ROOT = Path(__file__).resolve().parents[2]


class GraphWalk:
    """The lines of an inert graph, as `live_walk.Walk` writes those of a loaded object."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, ...]] = []
        self.seen: dict[int, str] = {}

    def met(self, node: object, path: str) -> bool:
        first = self.seen.setdefault(id(node), path)
        if first != path:
            self.lines.append((path, "again", first))
        return first != path

    def visit(self, node: object, path: str) -> None:
        match node:
            case None | bool() | int() | float() | complex() | str():
                self.lines.append((path, *scalar_line(node)))
            case bytes():
                self.lines.append((path, "bytes", digest_of(node)))
            case TupleNode():
                self.lines.append((path, "tuple", str(len(node))))
                self.children(node, path)
            case SetNode():
                if not self.met(node, path):
                    kind = "frozenset" if node.frozen else "set"
                    self.lines.append((path, kind, *sorted(repr(key_line(item)) for item in node)))
            case ListNode():
                if not self.met(node, path):
                    self.lines.append((path, "list", str(len(node))))
                    self.children(node, path)
            case DictNode():
                if not self.met(node, path):
                    self.lines.append((path, node.kind, *(repr(key_line(key)) for key in node.items)))
                    for key, item in node.items.items():
                        self.visit(item, f"{path}{{{key_line(key)[-1]}}}")
            case Dtype():
                self.lines.append((path, "dtype", "|O" if node.is_object else dtype_text(node.to_numpy())))
            case NumpyScalar():
                self.lines.append((path, "scalar", dtype_text(node.dtype.to_numpy()), node.data.hex()))
            case Array():
                if not self.met(node, path):
                    self.array(node, path)
            case GlobalRef():
                self.lines.append((path, "name", node.name))
            case Record():
                if not self.met(node, path):
                    self.record(node, path)
            case _:
                raise AssertionError(f"{path}: {type(node)}")

    def children(self, node: ListNode, path: str) -> None:
        for index, item in enumerate(node.items):
            self.visit(item, f"{path}[{index}]")

    def array(self, node: Array, path: str) -> None:
        shape = "x".join(map(str, node.shape))
        if node.objects is not None:
            self.lines.append((path, "objects", shape))
            places = np.arange(len(node.objects)).reshape(node.shape, order="F" if node.fortran else "C")
            for index, place in enumerate(places.ravel().tolist()):
                self.visit(node.objects[place], f"{path}<{index}>")
        else:
            held = node.to_numpy()
            self.lines.append((path, "array", dtype_text(held.dtype), shape, array_digest(held)))

    def record(self, node: Record, path: str) -> None:
        if node.cls == "numpy.ma.core.MaskedArray":
            self.array(node.get("data"), f"{path}.data")
            self.array(node.get("mask"), f"{path}.mask")
            return
        self.lines.append((path, "object", node.name))
        arguments, listitems, dictitems = list(node.args), node.listitems or [], node.dictitems or {}
        # protocols 0 and 1 hand the items of a subclass to its base
        if node.how == "reconstructor" and arguments:
            base = arguments.pop()
            if isinstance(base, DictNode):
                dictitems = base.items
            elif isinstance(base, ListNode):
                listitems = base.items
        for index, item in enumerate(arguments):
            self.visit(item, f"{path}({index})")
        self.state(node, path)
        for index, item in enumerate(listitems):
            self.visit(item, f"{path}+[{index}]")
        for key, item in dictitems.items():
            self.visit(item, f"{path}+{{{key_line(key)[-1]}}}")

    def state(self, node: Record, path: str) -> None:
        state = node.state
        if (
            isinstance(state, TupleNode)
            and len(state) == 2
            and isinstance(state[0], DictNode)
            and state[1] is None
        ):
            state = state[0]
        if isinstance(state, DictNode):
            for key in sorted(state.items, key=str):
                if (node.name, key) not in REMADE:
                    self.visit(state.items[key], f"{path}.{key}")
        elif state is not None:
            self.visit(state, f"{path}!")


def key_line(key: object) -> tuple[str, ...]:
    if isinstance(key, tuple):
        return ("tuple", *(repr(key_line(item)) for item in key))
    if isinstance(key, NumpyScalar):
        return ("scalar", dtype_text(key.dtype.to_numpy()), key.data.hex())
    if isinstance(key, bytes):
        return ("bytes", key.hex())
    return scalar_line(key)


def graph_lines(data: bytes) -> list[tuple[str, ...]]:
    walk = GraphWalk()
    walk.visit(vet(data).root, "")
    return walk.lines


def differences(data: bytes, loaded: object) -> list[tuple[object, object]]:
    mine, real = graph_lines(data), live_lines(loaded)
    if len(mine) != len(real):
        paths = {line[0] for line in mine} ^ {line[0] for line in real}
        return [(len(mine), len(real)), *((path, "on one side only") for path in sorted(paths)[:8])]
    return [(a, b) for a, b in zip(mine, real, strict=True) if a != b][:8]


def estimators() -> dict[str, object]:
    rng = np.random.default_rng(5)
    X = np.abs(rng.normal(size=(60, 4))).round(3)
    y = rng.integers(0, 3, 60)
    words = np.array(["sell", "wait", "buy"])[y]
    real = X @ [1.0, -2.0, 0.5, 3.0]
    gaps = np.where(rng.random(X.shape) < 0.1, np.nan, X)
    one = {"n_estimators": 3, "random_state": 0}
    made: dict[str, tuple[object, object, object]] = {
        name: (model, X, target)
        for name, model, target in (
            ("tree", tree.DecisionTreeClassifier(max_depth=3), words),
            ("forest", ensemble.RandomForestClassifier(**one), words.astype(object)),
            ("extra trees", ensemble.ExtraTreesRegressor(**one), real),
            ("bagging", ensemble.BaggingClassifier(**one), y),
            ("adaboost", ensemble.AdaBoostClassifier(**one), y),
            ("boosting", ensemble.GradientBoostingClassifier(**one), y),
            ("histogram boosting", ensemble.HistGradientBoostingClassifier(max_iter=3), y),
            ("isolation", ensemble.IsolationForest(**one), None),
            ("voting", ensemble.VotingClassifier([("a", naive_bayes.GaussianNB())]), y),
            ("stacking", ensemble.StackingRegressor([("a", linear_model.Ridge())]), real),
            ("random rows", ensemble.RandomForestRegressor(2, random_state=np.random.RandomState(9)), real),
            ("logistic", linear_model.LogisticRegression(), words),
            ("stochastic", linear_model.SGDClassifier(), y),
            ("ridge", linear_model.RidgeClassifier(), y),
            ("elastic", linear_model.ElasticNet(), real),
            ("bayes", naive_bayes.GaussianNB(), y),
            ("counts", naive_bayes.MultinomialNB(), y),
            ("discriminant", discriminant_analysis.LinearDiscriminantAnalysis(), y),
            ("quadratic", discriminant_analysis.QuadraticDiscriminantAnalysis(), y),
            ("vectors", svm.SVC(), y),
            ("linear vectors", svm.LinearSVC(), y),
            ("outliers", svm.OneClassSVM(), None),
            ("neighbours", neighbors.KNeighborsClassifier(), y),
            ("ball", neighbors.KNeighborsRegressor(algorithm="ball_tree"), real),
            ("local outliers", neighbors.LocalOutlierFactor(novelty=True), None),
            ("network", neural_network.MLPClassifier((4,), max_iter=5), y),
            ("process", gaussian_process.GaussianProcessRegressor(), real),
            ("kernel ridge", kernel_ridge.KernelRidge(), real),
            ("mixture", mixture.GaussianMixture(2), None),
            ("means", cluster.KMeans(2, n_init=1), None),
            ("components", decomposition.PCA(2), None),
            ("partial squares", cross_decomposition.PLSRegression(2), real),
            ("one against all", multiclass.OneVsRestClassifier(linear_model.LogisticRegression()), y),
            ("calibrated", calibration.CalibratedClassifierCV(naive_bayes.GaussianNB(), cv=2), y),
            ("search", model_selection.GridSearchCV(tree.DecisionTreeClassifier(), {"max_depth": [1, 2]}, cv=2), y),
            ("projection", random_projection.SparseRandomProjection(2), None),
            ("best", feature_selection.SelectKBest(feature_selection.f_classif, k=2), y),
            ("robust", preprocessing.RobustScaler(), None),
            ("power", preprocessing.PowerTransformer(), None),
            ("quantiles", preprocessing.QuantileTransformer(n_quantiles=10), None),
            ("bins", preprocessing.KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf"), None),
            ("splines", preprocessing.SplineTransformer(), None),
            ("function", preprocessing.FunctionTransformer(np.log1p), None),
            ("target", compose.TransformedTargetRegressor(linear_model.Ridge(), func=np.log1p, inverse_func=np.expm1),
             real - real.min()),
            ("lightgbm", LGBMClassifier(n_estimators=3, verbosity=-1, n_jobs=1), words),
            ("lightgbm rows", LGBMRegressor(n_estimators=3, verbosity=-1, n_jobs=1), real),
            ("xgboost", XGBClassifier(n_estimators=3, n_jobs=1), y),
            ("xgboost rows", XGBRegressor(n_estimators=3, n_jobs=1), real),
        )
    }  # fmt: skip
    made["imputer"] = (impute.SimpleImputer(add_indicator=True), gaps, None)
    made["neighbour imputer"] = (impute.KNNImputer(), gaps, None)
    made["isotonic"] = (isotonic.IsotonicRegression(), X[:, 0], real)
    made["categories"] = (preprocessing.OneHotEncoder(), np.c_[words, words[::-1]], None)
    made["columns"] = (
        compose.ColumnTransformer([("a", preprocessing.StandardScaler(), [0])], remainder="passthrough"),
        X, None,
    )  # fmt: skip
    made["pipeline"] = (
        pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()), X, y,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: model.fit(rows, target) for name, (model, rows, target) in made.items()}


@pytest.fixture(scope="module")
def fitted() -> dict[str, object]:
    return estimators()


def encodings(value: object) -> Iterator[tuple[str, bytes]]:
    for protocol in range(6):
        yield f"pickle, protocol {protocol}", pickle.dumps(value, protocol)
    for protocol in (3, 5):
        buffer = io.BytesIO()
        joblib.dump(value, buffer, protocol=protocol)
        yield f"joblib, protocol {protocol}", buffer.getvalue()
    plain = buffer.getvalue()
    for name, pack in (
        ("zlib", zlib.compress),
        ("gzip", gzip.compress),
        ("bz2", bz2.compress),
        ("xz", lzma.compress),
    ):
        yield f"joblib+{name}", pack(plain)


def test_every_estimator_in_every_encoding_is_what_a_plain_load_gives(fitted):
    compared = 0
    for name, model in fitted.items():
        for encoding, data in encodings(model):
            loaded = joblib.load(io.BytesIO(data))
            assert differences(data, loaded) == [], f"{name}, {encoding}"
            compared += len(live_lines(loaded))
    assert len(fitted) >= 50
    assert compared > 30_000


def test_every_honest_file_of_the_estate_is_what_a_plain_load_gives():
    estate = cached_estate()
    honest = [
        estate / FILES / entry["file"] for entry in estate_manifest(estate) if entry["kind"] == "honest"
    ]
    with homes():
        for path in honest:
            assert differences(path.read_bytes(), joblib.load(path)) == [], path.name
    assert len(honest) >= 14


def test_sharing_and_cycles_are_what_a_plain_load_gives():
    scaler = preprocessing.StandardScaler().fit([[0.0], [1.0]])
    shared = {"weights": np.arange(3.0), "names": ["a"]}
    value: dict[str, object] = {"model": scaler, "a": shared, "b": [shared, shared["weights"], scaler]}
    value["self"] = value
    for protocol in range(6):
        data = pickle.dumps(value, protocol)
        assert differences(data, pickle.loads(data)) == []
        assert sum(line[1] == "again" for line in graph_lines(data)) == 4


@pytest.mark.parametrize("change", ["a weight", "a string", "a hyperparameter", "the sharing"])
def test_a_difference_of_one_value_shows(change):
    """The comparison itself is not blind."""
    scaler = preprocessing.StandardScaler().fit([[0.0], [1.0]])
    weights = np.arange(3.0)
    value = {"model": scaler, "a": weights, "b": weights, "name": "EURUSD"}
    data = pickle.dumps(value)
    loaded = pickle.loads(data)
    if change == "a weight":
        loaded["a"][1] = np.nextafter(1.0, 2.0)
    elif change == "a string":
        loaded["name"] = "EURUSd"
    elif change == "a hyperparameter":
        loaded["model"].with_mean = 1
    else:
        loaded["b"] = loaded["b"].copy()
    assert differences(data, loaded) != []


def environments() -> list[Path]:
    folder = _ROOT / ".build" / "environments"
    return [path for path in sorted(folder.glob("*")) if (path / "bin" / "python").exists()]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_honest_file_of_other_versions_is_what_a_load_in_its_own_environment_gives():
    compared = 0
    for environment in environments():
        estate = _ROOT / ".build" / "estates" / environment.name
        files = sorted(
            str(path) for path in estate.rglob("*") if path.suffix in (".pkl", ".joblib") and path.is_file()
        )
        if not files:
            continue
        done = subprocess.run(
            [environment / "bin" / "python", _ROOT / "tests" / "converter" / "live_walk.py", *files],
            capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert [row["file"] for row in rows] == files
        for row in rows:
            assert "error" not in row, row
            assert digest(graph_lines(Path(row["file"]).read_bytes())) == row["digest"], row["file"]
            compared += 1
    if not compared:
        pytest.skip("no worker environments with estates below .build; see docs/environments.md")
    print(f"{compared} files of {len(environments())} environments")
