# SPDX-License-Identifier: Apache-2.0
"""Structures that native code would follow out of bounds are refused, each fault an English sentence."""

from __future__ import annotations

import copy
import io
import json
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse
import xgboost
from sklearn.tree._tree import Tree

from depickle.pickles import Verdict, scan

from .pickle_samples import models


def pickled(value: object, kind: type | None = None, change: Callable[[dict], None] | None = None) -> bytes:
    """`value`, with `change` applied to the state of every object of `kind`."""
    file = io.BytesIO()
    pickler = pickle.Pickler(file, 4)

    def reduce(found):
        made = found.__reduce_ex__(4)
        state = copy.deepcopy(made[2])
        change(state)
        return (*made[:2], state, *made[3:])

    if kind is not None:
        pickler.dispatch_table = {kind: reduce}
    pickler.dump(value)
    return file.getvalue()


def node(field: str, value: float, index: int = 0) -> Callable[[dict], None]:
    def change(state: dict) -> None:
        state["nodes"][field][index] = value

    return change


def entry(name: str, value: object) -> Callable[[dict], None]:
    return lambda state: state.__setitem__(name, value)


def applied(name: str, function: Callable[[object], object]) -> Callable[[dict], None]:
    return lambda state: state.__setitem__(name, function(state[name]))


TREES = {
    "a child far outside": node("left_child", 10**9),
    "a child beyond 32 bits that would wrap to a valid one": node("left_child", 2**32 + 1),
    "a child that is the node itself": node("right_child", 0),
    "a negative child": node("left_child", -7),
    "one child only": node("left_child", -1),
    "both children the same": lambda state: node("right_child", int(state["nodes"]["left_child"][0]))(state),
    "a feature that no row has": node("feature", 4),
    "a negative feature": node("feature", -3),
    "a threshold that is NaN": node("threshold", float("nan")),
    "a flag of 7": node("missing_go_to_left", 7),
    "a value that is infinite": applied("values", lambda values: values + np.inf),
    "more nodes announced than present": entry("node_count", 1000),
    "no nodes": lambda state: state.update(
        node_count=0, nodes=state["nodes"][:0], values=state["values"][:0]
    ),
    "a depth below the real one": entry("max_depth", 1),
    "a negative depth": entry("max_depth", -1),
    "values of another shape": applied("values", lambda values: values[:, :, :1]),
    "values of the wrong length": applied("values", lambda values: values[:-1]),
}


@pytest.mark.parametrize("sentence", TREES)
@pytest.mark.parametrize("model", ["tree", "forest", "gradient boosting", "isolation forest"])
def test_a_broken_tree_is_refused(sentence, model):
    if model != "tree" and sentence == "values of another shape" and model != "forest":
        data = pickled(models()[model], Tree, applied("values", lambda values: values[:, :0]))
    elif model == "isolation forest" and sentence == "a flag of 7":
        data = pickled(models()[model], Tree, node("missing_go_to_left", 2))
    else:
        data = pickled(models()[model], Tree, TREES[sentence])
    result = scan(data)
    assert result.verdict is Verdict.REFUSED
    assert result.findings[0].rule == "DP450", result.findings
    assert result.findings[0].reached == "sklearn.tree._tree.Tree"


def test_unchanged_trees_pass_the_same_way():
    for model in ("tree", "forest", "gradient boosting", "isolation forest"):
        assert scan(pickled(models()[model], Tree, lambda state: None)).verdict is Verdict.ACCEPTED


@pytest.mark.parametrize("model", ["tree", "forest", "gradient boosting"])
def test_an_estimator_that_checks_for_fewer_features_than_its_trees_take_is_refused(model):
    broken = copy.deepcopy(models()[model])
    broken.n_features_in_ = 2
    assert scan(pickle.dumps(broken)).findings[0].rule == "DP451"


def changed(model: str, **attributes: object) -> bytes:
    broken = copy.deepcopy(models()[model])
    for name, value in attributes.items():
        setattr(broken, name, value)
    return pickle.dumps(broken)


def histogram(change: Callable[[np.ndarray], None]) -> bytes:
    broken = copy.deepcopy(models()["histogram boosting"])
    change(broken._predictors[0][0].nodes)
    return pickle.dumps(broken)


def set_field(field: str, value: float, index: int = 0) -> Callable[[np.ndarray], None]:
    return lambda nodes: nodes[field].__setitem__(index, value)


@pytest.mark.parametrize(
    "data",
    {
        "a child outside": histogram(set_field("left", 4_000_000_000)),
        "a cycle": histogram(set_field("right", 0)),
        "a feature outside": histogram(set_field("feature_idx", 99)),
        "a last node that is no leaf": histogram(set_field("is_leaf", 0, -1)),
        "a category set that does not exist": histogram(set_field("is_categorical", 1)),
        "a threshold that is NaN": histogram(set_field("num_threshold", float("nan"))),
        "iterations of another width": changed("histogram boosting", n_trees_per_iteration_=7),
    }.values(),
)
def test_broken_histogram_boosting_is_refused(data):
    assert scan(data).findings[0].rule == "DP452"


def sparse(**attributes: object) -> bytes:
    matrix = scipy.sparse.csr_matrix(np.eye(3))
    for name, value in attributes.items():
        setattr(matrix, name, value)
    return pickle.dumps({"model": models()["scaler"], "x": matrix})


@pytest.mark.parametrize(
    "data",
    {
        "an index beyond the columns": sparse(indices=np.array([0, 1, 9], np.int32)),
        "a negative index": sparse(indices=np.array([0, 1, -1], np.int32)),
        "pointers out of order": sparse(indptr=np.array([0, 3, 1, 3], np.int32)),
        "pointers beyond the data": sparse(indptr=np.array([0, 1, 2, 90], np.int32)),
        "too few pointers": sparse(indptr=np.array([0, 3], np.int32)),
        "a format that is not checked": pickle.dumps({"model": 1, "x": scipy.sparse.dia_matrix(np.eye(2))}),
    }.values(),
)
def test_a_broken_sparse_matrix_is_refused(data):
    assert {finding.rule for finding in scan(data).findings} & {"DP453", "DP429", "DP423", "DP424"}


@pytest.mark.parametrize(
    "attributes",
    [
        {"_n_support": np.array([500, 1, 1], np.int32)},
        {"_n_support": np.array([-1, 60, 60], np.int32)},
        {"support_vectors_": np.zeros((1, 4))},
        {"support_": np.array([10**6], np.int32)},
        {"_intercept_": np.zeros(1)},
        {"_probA": np.zeros(1)},
        {"shape_fit_": (1, 4)},
    ],
)
def test_broken_support_vectors_are_refused(attributes):
    assert scan(changed("support vectors", **attributes)).findings[0].rule == "DP454"


def test_preprocessors_and_linear_models_of_another_width_are_refused():
    assert scan(changed("scaler", mean_=np.zeros(3))).findings[0].rule == "DP455"
    assert scan(changed("logistic", coef_=np.zeros((3, 9)))).findings[0].rule == "DP456"
    assert scan(changed("logistic", intercept_=np.zeros(7))).findings[0].rule == "DP456"


def lightgbm_text(change: Callable[[str], str]) -> bytes:
    booster = models()["lightgbm booster"]
    state = dict(booster.__getstate__())
    text = state["_handle"]
    state["_handle"] = change(text)
    assert state["_handle"] != text
    # The object itself is never built here: only its name and its state are written.
    honest = pickle.dumps(booster, 4)
    file = io.BytesIO()
    pickler = pickle.Pickler(file, 4)
    pickler.dispatch_table = {type(booster): lambda found: (*found.__reduce_ex__(4)[:2], state)}
    pickler.dump(booster)
    assert scan(honest).verdict is Verdict.ACCEPTED
    return file.getvalue()


def first_line(text: str, name: str, new: str) -> str:
    begin = text.index(f"\n{name}=") + 1
    end = text.index("\n", begin)
    changed_line = f"{name}={new}"
    # The sizes still fit, so that the fault itself is what is found.
    return text[:begin] + changed_line.ljust(end - begin)[: end - begin] + text[end:]


@pytest.mark.parametrize(
    "change",
    {
        "a child outside": lambda text: first_line(text, "left_child", "99"),
        "a feature outside": lambda text: first_line(text, "split_feature", "99"),
        "other sizes": lambda text: first_line(text, "tree_sizes", "1"),
        "fewer leaves": lambda text: first_line(text, "num_leaves", "2"),
        "another width": lambda text: first_line(text, "max_feature_idx", "9"),
        "no end": lambda text: text.replace("end of trees", "end of threes"),
        "a name for a number": lambda text: first_line(text, "threshold", "abc"),
        "text after the last tree": lambda text: text.replace("\nend of trees", "extra=1\n\nend of trees"),
        "a field twice": lambda text: text.replace("shrinkage=", "num_cat=0\nshrinkage="),
        "not LightGBM's text": lambda text: "forest" + text,
    }.values(),
)
def test_broken_lightgbm_text_is_refused(change):
    assert scan(lightgbm_text(change)).findings[0].rule == "DP457"


def xgboost_json(change: Callable[[dict], None]) -> bytes:
    raw = models()["xgboost booster"].save_raw("json")
    document = json.loads(bytes(raw))
    change(document["learner"])
    return _dump_raw(json.dumps(document).encode())


def _dump_raw(handle: bytes) -> bytes:
    file = io.BytesIO()
    pickler = pickle.Pickler(file, 4)
    booster = models()["xgboost booster"]
    pickler.dispatch_table = {
        xgboost.Booster: lambda found: (*found.__reduce_ex__(4)[:2], {"handle": bytearray(handle)})
    }
    pickler.dump(booster)
    return file.getvalue()


def tree_field(name: str, index: int, value: object) -> Callable[[dict], None]:
    def change(learner: dict) -> None:
        learner["gradient_booster"]["model"]["trees"][0][name][index] = value

    return change


@pytest.mark.parametrize(
    "change",
    {
        "a child outside": tree_field("left_children", 0, 10**6),
        "a child that is the root": tree_field("right_children", 0, 0),
        "one child": tree_field("left_children", 0, -1),
        "a feature outside": tree_field("split_indices", 0, 99),
        "a condition that is NaN": tree_field("split_conditions", 0, float("nan")),
        "a text for a child": tree_field("left_children", 0, "1"),
        "a list too long": lambda learner: learner["gradient_booster"]["model"]["trees"][0][
            "default_left"
        ].append(0),
        "a tree too many": lambda learner: learner["gradient_booster"]["model"]["gbtree_model_param"].update(
            num_trees="99"
        ),
        "no parameters": lambda learner: learner.pop("learner_model_param"),
        "an unknown booster": lambda learner: learner["gradient_booster"].update(name="gbmagic"),
        "categories that do not fit": tree_field("split_type", 0, 1),
    }.values(),
)
def test_a_broken_xgboost_document_is_refused(change):
    assert scan(xgboost_json(lambda learner: None)).verdict is Verdict.ACCEPTED
    assert scan(xgboost_json(change)).findings[0].rule == "DP458"


@pytest.mark.parametrize(
    "handle", [b"binf\0\0", b"", b"{", b"{L", b'{"a":1,"a":2}', b"[" * 5000, b'{"a":' * 5000]
)
def test_bytes_that_are_no_xgboost_document_are_refused(handle):
    assert scan(_dump_raw(handle)).findings[0].rule == "DP458"


def test_every_cut_of_an_xgboost_document_is_refused():
    raw = bytes(models()["xgboost booster"].save_raw("ubj"))
    for size in range(0, len(raw) - 1, max(1, len(raw) // 60)):
        assert scan(_dump_raw(raw[:size])).findings[0].rule == "DP458"


def test_a_broken_neighbour_tree_is_refused():
    tree = models()["neighbours"]._tree

    def with_state(index: int, change: Callable[[np.ndarray], None]) -> bytes:
        state = list(tree.__getstate__())
        state[index] = np.array(state[index])
        change(state[index])
        file = io.BytesIO()
        pickler = pickle.Pickler(file, 4)
        pickler.dispatch_table = {type(tree): lambda found: (*found.__reduce__()[:2], tuple(state))}
        pickler.dump(models()["neighbours"])
        return file.getvalue()

    assert scan(with_state(1, lambda indices: None)).verdict is Verdict.ACCEPTED
    assert scan(with_state(1, lambda indices: indices.__setitem__(0, 10**9))).findings[0].rule == "DP459"
    assert (
        scan(with_state(2, lambda nodes: nodes["idx_end"].__setitem__(0, 10**9))).findings[0].rule == "DP459"
    )
    assert scan(with_state(2, lambda nodes: nodes["is_leaf"].__setitem__(-1, 0))).findings[0].rule == "DP459"
