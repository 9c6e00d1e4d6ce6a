# SPDX-License-Identifier: Apache-2.0
"""Honest models pass the gate in every encoding, and the inert graph says what a plain load would build."""

from __future__ import annotations

import datetime
import io
import math
import pickle
import sys

import joblib
import numpy as np
import pytest
import scipy.sparse

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
    Verdict,
    open_package,
    scan,
    vet,
)

from .pickle_samples import encodings, install_auxiliary, models

NAMES = sorted(models())


def same(node: object, real: object, path: str, seen: set[tuple[int, int]]) -> int:
    """Compare a graph with a loaded object; returns how many leaves were equal, fails on the first difference."""
    if (id(node), id(real)) in seen:
        return 0
    if isinstance(node, Array):
        assert isinstance(real, np.ndarray), path
        assert node.shape == real.shape, path
        if node.objects is not None:
            assert real.dtype == object
            flat = real.ravel(order="F" if node.fortran else "C")
            return sum(
                same(a, b, f"{path}[{i}]", seen)
                for i, (a, b) in enumerate(zip(node.objects, flat, strict=True))
            )
        mine = node.to_numpy()
        if mine.dtype != real.dtype:  # joblib turns arrays into the byte order of the host
            mine = mine.astype(mine.dtype.newbyteorder("="))
        assert mine.dtype == real.dtype, path
        for field in mine.dtype.names or ():  # the padding between fields is whatever memory held
            assert mine[field].tobytes() == real[field].tobytes(), f"{path}.{field}"
        assert mine.dtype.names or mine.tobytes() == real.tobytes(), path
        return 1
    if isinstance(node, NumpyScalar):
        assert isinstance(real, np.generic) and real.dtype == node.dtype.to_numpy(), path
        assert node.data == real.tobytes(), path
        return 1
    if isinstance(node, Dtype):
        assert node.to_numpy() == real, path
        return 1
    if isinstance(node, GlobalRef):
        assert getattr(real, "__name__", None) == node.name, path
        return 1
    if isinstance(node, bytes):
        assert node == bytes(real), path
        return 1
    if not isinstance(node, ListNode | DictNode | Record):
        assert type(node) is type(real), path
        assert node == real or (isinstance(node, float) and math.isnan(node) and math.isnan(real)), path
        return 1
    seen.add((id(node), id(real)))
    if isinstance(node, SetNode):
        assert len(node) == len(real), path
        return len(node)
    if isinstance(node, TupleNode | ListNode):
        assert isinstance(real, tuple if isinstance(node, TupleNode) else list), path
        assert len(node) == len(real), path
        return sum(
            same(a, b, f"{path}[{i}]", seen) for i, (a, b) in enumerate(zip(node.items, real, strict=True))
        )
    if isinstance(node, DictNode):
        assert list(node.items) == list(real), path
        return sum(same(value, real[key], f"{path}[{key!r}]", seen) for key, value in node.items.items())
    return same_record(node, real, path, seen)


def same_record(node: Record, real: object, path: str, seen: set[tuple[int, int]]) -> int:
    if node.how != "reduce":
        assert type(real).__name__ == node.name, path
    if node.cls == "numpy.ma.core.MaskedArray":
        assert np.array_equal(node.get("mask").to_numpy(), real.mask), path
        return 1
    state = real.__getstate__() if hasattr(real, "__getstate__") else None
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[0], dict):
        state = state[0]
    if not isinstance(state, dict):
        return 0
    if node.name == "Booster" and node.module == "xgboost.core":
        state["handle"] = node.get("handle")  # saved anew on each call, with the same trees
    attributes = node.attrs()
    assert set(attributes) == set(state), path
    return sum(same(value, state[key], f"{path}.{key}", seen) for key, value in attributes.items())


@pytest.mark.parametrize("name", NAMES)
def test_every_encoding_of_an_honest_model_is_accepted_and_faithful(name, tmp_path):
    install_auxiliary()
    for encoding, data in encodings(models()[name], tmp_path):
        vetted = vet(data, where=encoding)
        kind = encoding.partition(",")[0]
        # A model without arrays is the same file whether joblib or pickle wrote it.
        assert vetted.container in (kind, kind.replace("joblib", "pickle")), encoding
        assert {finding.rule for finding in vetted.findings} <= {"DP427"}
        assert (
            same(
                vetted.root,
                joblib.load(io.BytesIO(data)) if "lz4" not in encoding else models()[name],
                name,
                set(),
            )
            > 0
        )


def test_the_writer_is_read_from_the_graph():
    import sklearn
    import xgboost

    assert vet(pickle.dumps(models()["forest"])).writer["scikit-learn"] == sklearn.__version__
    assert vet(pickle.dumps(models()["forest"])).writer["numpy"] == "2"
    assert vet(pickle.dumps(models()["xgboost booster"])).writer["xgboost"] == xgboost.__version__
    assert "lightgbm" in vet(pickle.dumps(models()["lightgbm"])).writer


def test_a_package_shows_its_estimator_and_what_is_beside_it():
    vetted = vet(pickle.dumps(models()["package"]))
    package = open_package(vetted)
    assert (package.kind, package.estimator_path, package.symbol) == ("package", ("pipeline",), "EURUSD")
    assert package.estimator.name == "RandomForestClassifier"
    assert package.training_date == "2025-01-08T12:00:00+00:00"
    assert package.feature_names == ("a", "b", "c", "d")
    assert package.performance == {"accuracy": 0.625, "rows": 120.0}
    assert package.auxiliary == (("feature_engineer",),)
    assert [finding.rule for finding in vetted.findings] == ["DP427"]
    assert [use.role for use in vetted.globals if use.module == "core.ml.feature_engineering"] == [
        "auxiliary"
    ]


def test_shared_references_and_cycles_are_kept():
    inner = {"numbers": [1, 2]}
    value = {"pipeline": models()["scaler"], "a": inner, "b": inner}
    value["itself"] = [value]
    for protocol in range(6):
        root = vet(pickle.dumps(value, protocol)).root
        assert root.get("a") is root.get("b")
        assert root.get("itself")[0] is root


def test_plain_values_survive_every_protocol():
    value = {
        "integers": [0, -1, 255, 256, 65535, 65536, -(2**31), 2**31, 2**63, -(2**100), 2**500],
        "floats": [0.0, -0.0, 1e308, float("inf"), float("-inf")],
        "text": ["", "é", "Ω" * 300, "\\u0041\n\\", "😀"],
        "bytes": [b"", b"\xff" * 10, b"a" * 70000, bytearray(b"xyz"), bytearray()],
        "others": [None, True, False, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), complex(1, -2)],
        "sets": [set(), {1, "a"}, frozenset({2.5})],
        "arrays": [
            np.arange(6).reshape(2, 3),
            np.asfortranarray(np.arange(6.0).reshape(2, 3)),
            np.array(["ab", "c"]),
            np.array([b"ab", b"c"]),
            np.array([1, "x", None], object),
            np.array(["2020-01-01"], "datetime64[D]"),
            np.zeros((0, 3)),
            np.array(5),
            np.arange(3, dtype=">i4"),
            np.array([True, False]),
        ],
        ("tuple", 1): {1: "one", 2.5: "two", None: "none", True is False: "no", np.str_("np"): 1},
        "date": datetime.date(2024, 2, 29),
    }
    for protocol in range(6):
        root = vet(pickle.dumps(value, protocol)).root
        loaded = pickle.loads(pickle.dumps(value, protocol))
        assert same(root, loaded, "value", set()) > 40
        assert root.get(("tuple", 1)).get("np") == 1
        file = io.BytesIO()
        joblib.dump(value, file, protocol=protocol)
        assert same(vet(file.getvalue()).root, loaded, "value", set()) > 40


def test_sparse_matrices_are_read():
    matrix = scipy.sparse.csr_matrix(np.eye(4))
    root = vet(pickle.dumps({"model": models()["scaler"], "x": matrix})).root
    assert root.get("x").get("indptr").to_numpy().tolist() == [0, 1, 2, 3, 4]


def test_scanning_imports_nothing_that_the_file_names():
    data = pickle.dumps(models()["package"]).replace(b"core.ml.feature", b"zore.ml.feature")
    before = set(sys.modules)
    result = scan(data)
    assert result.verdict is Verdict.ACCEPTED
    assert not {name for name in set(sys.modules) - before if not name.startswith("encodings")}
