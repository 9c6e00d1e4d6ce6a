# SPDX-License-Identifier: Apache-2.0
"""Sessions are made of vetted bytes only, answer as the graph does, and let through what the original took."""

from __future__ import annotations

import os
import threading

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto as T

from depickle_runtime import session as session_module
from depickle_runtime.errors import FeatureError, ModelContractError, SecurityError
from depickle_runtime.onnx_gate import check_onnx
from depickle_runtime.record import InputContract, OutputNames
from depickle_runtime.session import OnnxSession, open_session
from tests.attacks import onnx_corpus as corpus

OUTPUTS = OutputNames(label=None, class_index=None, probabilities=None, scores="Y")


def contract(**changes: object) -> InputContract:
    fields = {
        "name": "X",
        "dtype": "float64",
        "graph_dtype": "float64",
        "features": corpus.F,
        "allow_nan": False,
        "allow_infinite": False,
        "max_abs": None,
    }
    fields.update(changes)
    return InputContract(**fields)  # type: ignore[arg-type]


def opened(**changes: object) -> OnnxSession:
    return open_session(check_onnx(corpus.raw(corpus.tree())), contract=contract(**changes), outputs=OUTPUTS)


def rows(count: int = 50) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, corpus.F)) * 3


def test_a_batch_answers_as_a_bare_session() -> None:
    bare = ort.InferenceSession(corpus.raw(corpus.tree()), providers=["CPUExecutionProvider"])
    X = rows()
    answers = opened().run(X)
    assert answers.scores is not None
    assert np.array_equal(answers.scores, bare.run(["Y"], {"X": X})[0])
    assert answers.class_index is None


def test_one_row_answers_as_the_batch_does() -> None:
    session = opened()
    X = rows()
    batch = session.run(X).scores
    runner = session.row_runner()
    assert batch is not None
    for row, expected in zip(X, batch, strict=True):
        assert np.array_equal(runner(row).scores[0], expected)  # type: ignore[index]
        assert np.array_equal(session.run_row(list(row)).scores[0], expected)  # type: ignore[index]


def test_run_row_hands_out_arrays_of_its_own() -> None:
    session = opened()
    first = session.run_row(np.full(corpus.F, -9.0)).scores
    assert first is not None
    kept = first.copy()
    session.run_row(np.full(corpus.F, 9.0))
    assert np.array_equal(first, kept)


def test_threads_do_not_mix_their_rows() -> None:
    session = opened()
    X = rows(40)
    expected = session.run(X).scores
    wrong: list[int] = []

    def work(start: int) -> None:
        for k in range(start, start + 400):
            if not np.array_equal(session.run_row(X[k % 40]).scores[0], expected[k % 40]):  # type: ignore[index]
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(i * 7,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_large_batch_is_run_in_slices_with_the_same_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    X = rows(101)
    whole = opened().run(X).scores
    monkeypatch.setattr(session_module, "MAX_SLICE_ROWS", 10)
    assert np.array_equal(opened().run(X).scores, whole)  # type: ignore[arg-type]


BAD_ROWS = {
    "too few columns": (np.zeros((3, corpus.F - 1)), "DP221", ModelContractError),
    "no rows": (np.zeros((0, corpus.F)), "DP221", ModelContractError),
    "a vector": (np.zeros(corpus.F), "DP221", ModelContractError),
    "text": ([["a"] * corpus.F], "DP222", ModelContractError),
    "ragged lists": ([[1.0], [1.0, 2.0]], "DP222", ModelContractError),
    "objects": (np.zeros((1, corpus.F), dtype=object), "DP222", ModelContractError),
    "NaN": (np.full((2, corpus.F), np.nan), "DP227", FeatureError),
    "infinity": (np.full((2, corpus.F), -np.inf), "DP228", FeatureError),
    "past the bound": (np.full((2, corpus.F), -1e39), "DP229", FeatureError),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_rows_that_the_original_refuses_are_refused(name: str) -> None:
    X, code, error = BAD_ROWS[name]
    session = opened(max_abs=float(np.finfo(np.float32).max).hex())
    with pytest.raises(error) as refusal:
        session.run(X)
    assert refusal.value.code == code
    if name not in ("no rows", "a vector"):
        with pytest.raises(SecurityError) as refusal:
            session.run_row(X[0])
        assert refusal.value.code == ("DP221" if name == "ragged lists" else code)


def test_special_values_pass_where_the_contract_admits_them() -> None:
    session = opened(allow_nan=True, allow_infinite=True, max_abs=(100.0).hex())
    X = np.array([[np.nan, np.inf, -np.inf, 100.0]])
    assert session.run(X).scores is not None
    assert session.run_row(X[0]).scores is not None
    with pytest.raises(FeatureError, match="DP229"):
        session.run_row([0.0, 0.0, 0.0, np.nextafter(100.0, 101.0)])


@pytest.mark.parametrize("bound", [1.5, 1e10, float(np.finfo(np.float32).max), 1e300])
def test_the_bound_is_exact_in_both_paths(bound: float) -> None:
    session = opened(max_abs=bound.hex())
    at, over = np.full(corpus.F, -bound), np.full(corpus.F, -bound)
    over[2] = -np.nextafter(bound, np.inf)
    assert session.run_row(at).scores is not None
    assert session.run(at[None]).scores is not None
    for call in (lambda: session.run_row(over), lambda: session.run(over[None])):
        with pytest.raises(FeatureError, match="DP229"):
            call()


def test_float32_contracts_round_rows_as_the_original_saw_them() -> None:
    # Split 0 of the first tree is at 0.0: the smallest double rounds onto it in float32 and goes left.
    tiny = np.array([[5e-324, 1.0, 2.0, 3.0]])
    wide, narrow = opened().run(tiny).scores, opened(dtype="float32").run(tiny).scores
    assert not np.array_equal(wide, narrow)  # type: ignore[arg-type]
    assert np.array_equal(opened(dtype="float32").run_row(tiny[0]).scores, narrow)  # type: ignore[arg-type]


WRONG_CONTRACTS = {
    "another width": (contract(features=9), OUTPUTS),
    "another name": (contract(name="Z"), OUTPUTS),
    "another dtype": (contract(graph_dtype="float32"), OUTPUTS),
    "an output that is not there": (
        contract(),
        OutputNames(label=None, class_index=None, probabilities="P", scores="Y"),
    ),
    "floats as class numbers": (
        contract(),
        OutputNames(label=None, class_index="Y", probabilities=None, scores=None),
    ),
    "no output": (contract(), OutputNames(label=None, class_index=None, probabilities=None, scores=None)),
    "a bound that is no number": (contract(max_abs="all"), OUTPUTS),
}


@pytest.mark.parametrize("name", WRONG_CONTRACTS)
def test_a_record_that_does_not_fit_the_graph_is_refused(name: str) -> None:
    with pytest.raises(ModelContractError, match="DP220"):
        open_session(
            check_onnx(corpus.raw(corpus.tree())),
            contract=WRONG_CONTRACTS[name][0],
            outputs=WRONG_CONTRACTS[name][1],
        )


def test_the_settings_are_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort.SessionOptions, "get_session_config_entry", lambda _self, _key: "something else")
    with pytest.raises(ModelContractError, match="DP225"):
        opened()


def test_configuration_from_the_environment_is_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_LOAD_CONFIG_FROM_MODEL", "1")
    opened()
    assert "ORT_LOAD_CONFIG_FROM_MODEL" not in os.environ


def test_an_error_of_onnxruntime_at_load_is_ours() -> None:
    # And takes booleans only; the gate leaves types to onnxruntime.
    broken = corpus.model([corpus.op("And", "X X")], outputs=[corpus.info("Y", T.DOUBLE, [None, corpus.F])])
    with pytest.raises(ModelContractError, match="DP224"):
        open_session(check_onnx(corpus.raw(broken)), contract=contract(), outputs=OUTPUTS)


def test_an_error_of_onnxruntime_at_run_is_ours() -> None:
    nodes = [corpus.op("Cast", "X", "i", to=T.INT64), corpus.op("GatherElements", "X i", axis=1)]
    session = open_session(check_onnx(corpus.raw(corpus.model(nodes))), contract=contract(), outputs=OUTPUTS)
    with pytest.raises(ModelContractError, match="DP223"):
        session.run(np.full((1, corpus.F), 99.0))
    with pytest.raises(ModelContractError, match="DP223"):
        session.run_row(np.full(corpus.F, 99.0))


def test_the_deepest_admitted_tree_opens_from_a_thread_with_a_small_stack() -> None:
    vetted = check_onnx(corpus.raw(corpus.chain(500)))
    outcome: list[object] = []

    def work() -> None:
        outcome.append(open_session(vetted, contract=contract(), outputs=OUTPUTS).run(rows(2)).scores)

    before = threading.stack_size(512 << 10)
    try:
        thread = threading.Thread(target=work)
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    assert isinstance(outcome[0], np.ndarray)
