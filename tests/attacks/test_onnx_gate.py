# SPDX-License-Identifier: Apache-2.0
"""The ONNX gate refuses every hostile file with the expected rule, quickly, and lets honest files through."""

from __future__ import annotations

import multiprocessing
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depickle_runtime.errors import OnnxRefusedError
from depickle_runtime.onnx_gate import VettedOnnx, check_onnx

from . import onnx_corpus
from .onnx_corpus import Case

CASES = onnx_corpus.cases()
MAX_SECONDS = 2.0
"""Generous for a busy machine; the slowest takes about 0.3 s on an idle one."""
MAX_MEMORY = 64 << 20

HONEST = {
    "an addition": onnx_corpus.honest,
    "a tree ensemble": onnx_corpus.tree,
    "an older tree ensemble": onnx_corpus.legacy,
    "a tree of the greatest depth": lambda: onnx_corpus.chain(500),
    "a support-vector classifier": onnx_corpus.svm,
    "a linear regressor": onnx_corpus.linear,
}


def test_the_corpus_is_large_and_its_names_are_distinct() -> None:
    assert len(CASES) >= 150
    assert len({c.name for c in CASES}) == len(CASES)
    assert len({c.code for c in CASES}) >= 45


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_a_hostile_file_is_refused_by_its_rule_quickly(case: Case) -> None:
    started = time.perf_counter()
    with pytest.raises(OnnxRefusedError) as refusal:
        check_onnx(case.data)
    assert time.perf_counter() - started < MAX_SECONDS
    assert refusal.value.code == case.code, str(refusal.value)
    assert refusal.value.found
    assert refusal.value.expected
    assert refusal.value.where


def test_no_hostile_file_takes_much_memory() -> None:
    worst: list[tuple[int, str]] = []
    tracemalloc.start()
    try:
        for case in CASES:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            with pytest.raises(OnnxRefusedError):
                check_onnx(case.data)
            worst.append((tracemalloc.get_traced_memory()[1] - before, case.name))
    finally:
        tracemalloc.stop()
    assert max(worst)[0] < MAX_MEMORY, max(worst)


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_file_is_admitted(name: str) -> None:
    data = onnx_corpus.raw(HONEST[name]())
    vetted = check_onnx(data)
    assert vetted.data == data
    assert vetted.inputs[0].columns == onnx_corpus.F


def test_a_vetted_file_cannot_be_made_without_the_gate() -> None:
    fields: dict[str, Any] = dict.fromkeys(
        ("sha256", "inputs", "outputs", "operators", "opsets", "nodes", "trees", "elements_per_row")
    )
    with pytest.raises(TypeError, match="check_onnx only"):
        VettedOnnx(data=b"", **fields)


def test_the_gate_reads_the_numbers_that_the_onnx_package_reads() -> None:
    values = [
        0,
        1,
        127,
        128,
        16_383,
        16_384,
        1 << 21,
        (1 << 31) - 1,
        1 << 35,
        (1 << 62) + 5,
        -1,
        -(1 << 63),
    ] * 9
    from depickle_runtime._onnx_wire import read_model

    for numbers in (values, values[:8] * 4, values[:3] * 40, [5]):
        node = onnx.helper.make_node("Op", ["X"], ["Y"], ints=numbers, floats=[0.5, -2.25, 1e30] * 30)
        read = read_model(onnx_corpus.raw(onnx_corpus.model([node]))).graph.nodes[0].attributes
        by_name = {a.name: a.value for a in read}
        assert np.asarray(by_name["ints"]).tolist() == numbers
        assert np.asarray(by_name["floats"]).tolist() == [
            float(np.float32(v)) for v in [0.5, -2.25, 1e30] * 30
        ]


def _load(data: bytes) -> None:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        dtype = np.float64 if "double" in session.get_inputs()[0].type else np.float32
        session.run(None, {"X": np.zeros((3, onnx_corpus.F), dtype=dtype)})
    except Exception:
        pass


def _survives(data: bytes) -> bool:
    """Whether onnxruntime loads and runs these bytes in a killable process without a crash or a hang."""
    process = multiprocessing.get_context("spawn").Process(target=_load, args=(data,))
    process.start()
    process.join(60)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode == 0


def test_the_chain_that_crashes_onnxruntime_is_refused_and_the_deepest_admitted_one_runs() -> None:
    deep = onnx_corpus.raw(onnx_corpus.chain(20_000))
    with pytest.raises(OnnxRefusedError, match="DP354"):
        check_onnx(deep)
    deepest = onnx_corpus.raw(onnx_corpus.chain(500))
    check_onnx(deepest)
    assert _survives(deepest)


SEEDS = [onnx_corpus.raw(build()) for build in HONEST.values()]


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """An honest file with a few bytes changed, removed or put in."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) - 1))
        kind = draw(st.sampled_from("ridc"))
        if kind == "r":
            data[at] = draw(st.integers(0, 255))
        elif kind == "i":
            data[at:at] = draw(st.binary(min_size=1, max_size=4))
        elif kind == "d" and len(data) > 8:
            del data[at : at + draw(st.integers(1, 4))]
        else:
            data[at] ^= 1 << draw(st.integers(0, 7))
    return bytes(data)


@settings(max_examples=600, deadline=None)
@given(mutations())
def test_a_mutated_file_is_refused_or_admitted_and_nothing_else(data: bytes) -> None:
    try:
        vetted = check_onnx(data)
    except OnnxRefusedError as refusal:
        assert refusal.code.startswith("DP3")
    else:
        # Canonical: the onnx package reads the same model and writes the same bytes.
        parsed = onnx.ModelProto.FromString(data)
        assert parsed.SerializeToString(deterministic=True) == vetted.data


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(OnnxRefusedError):
        check_onnx(data)


def _converted() -> Iterator[Any]:
    """A few estimators that skl2onnx converts, by name."""
    from sklearn import ensemble, linear_model, naive_bayes, neural_network, svm, tree
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import RobustScaler, StandardScaler

    forest = ensemble.RandomForestClassifier(8, max_depth=6, random_state=0)
    yield "forest", forest
    yield "extra trees", ensemble.ExtraTreesClassifier(8, max_depth=6, random_state=0)
    yield "boosting", ensemble.GradientBoostingClassifier(n_estimators=5, random_state=0)
    yield "adaboost", ensemble.AdaBoostClassifier(n_estimators=5, random_state=0)
    yield "bagging", ensemble.BaggingClassifier(n_estimators=5, random_state=0)
    yield "tree", tree.DecisionTreeClassifier(random_state=0)
    yield "logistic", linear_model.LogisticRegression()
    yield "svc", svm.SVC(random_state=0)
    yield "network", neural_network.MLPClassifier((6,), max_iter=400, tol=1e-2, random_state=0)
    yield "bayes", naive_bayes.GaussianNB()
    yield "scaled forest", make_pipeline(RobustScaler(), forest)
    yield "imputed forest", make_pipeline(SimpleImputer(), StandardScaler(), forest)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "estimator"), list(_converted()), ids=lambda v: v if isinstance(v, str) else ""
)
def test_a_model_of_skl2onnx_is_admitted_once_canonical(name: str, estimator: Any) -> None:
    from skl2onnx import to_onnx

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 5)).astype(np.float32)
    y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)
    fitted = estimator.fit(X, y)
    proto = to_onnx(fitted, X[:1], options={"zipmap": False}, target_opset={"": 21, "ai.onnx.ml": 3})
    # skl2onnx repeats operator-set imports, in an order that changes from run to run.
    imports = {o.domain: o.version for o in sorted(proto.opset_import, key=lambda o: o.version)}
    del proto.opset_import[:]
    proto.opset_import.extend(onnx.helper.make_opsetid(d, v) for d, v in sorted(imports.items()))
    vetted = check_onnx(proto.SerializeToString(deterministic=True))
    assert vetted.inputs[0].columns == 5


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", ["forest", "extra trees", "boosting", "logistic", "scaled forest", "imputed forest"]
)
def test_a_model_of_our_own_emitter_is_admitted_and_runs(name: str) -> None:
    from depickle_runtime.session import open_session
    from tests.converter.emit_checks import convert, make_data

    X, y = make_data(("BUY", "SELL", "WAIT"))
    estimator = dict(_converted())[name].fit(X, y)
    emitted = convert(estimator).emitted
    session = open_session(check_onnx(emitted.onnx), contract=emitted.input, outputs=emitted.outputs)
    answers = session.run(X[:100])
    assert emitted.classes is not None
    labels = np.asarray(emitted.classes)[answers.class_index]
    assert (labels == estimator.predict(X[:100])).all()
    runner = session.row_runner()
    assert [int(runner(row).class_index[0]) for row in X[:100]] == answers.class_index.tolist()  # type: ignore[index, union-attr]
