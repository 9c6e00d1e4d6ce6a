# SPDX-License-Identifier: Apache-2.0

"""Honest names throughout, crooked numbers: what C code would follow out of its arrays when it predicts."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from . import kit
from .kit import Effect, Entry, dumped, package

__all__ = ["entries", "spoiled"]

_PREDICT = "loaded['pipeline'].predict([[0.1, 0.2, 0.3, 0.4]] * 500) is None"


def _packed(model: Any) -> bytes:
    return dumped(package(pipeline=model))


# ---- trees --------------------------------------------------------------------------------------------------------


def _tree_entry(
    stem: str, technique: str, spoil: Callable[[dict[str, Any]], None], effect: Effect = "crashes"
) -> Entry:
    """A decision tree whose `tree_` state `spoil` changed."""

    def build(m: Path) -> bytes:
        from sklearn.tree import DecisionTreeClassifier

        model = kit.fitted(DecisionTreeClassifier(max_depth=4, random_state=0))
        tree = model.tree_
        state = copy.deepcopy(tree.__getstate__())
        spoil(state)
        _, arguments, _ = tree.__reduce__()
        model.__dict__["tree_"] = kit.Raised(type(tree), state.pop("arguments", arguments), state)
        return _packed(model)

    return Entry(f"tree-{stem}", technique, build, "DP4", effect, probe=_PREDICT, refused_by="model")


def _set(field: str, index: int, item: Any) -> Callable[[dict[str, Any]], None]:
    def spoil(state: dict[str, Any]) -> None:
        state["nodes"][field][index] = item

    return spoil


def _inner(state: dict[str, Any]) -> np.ndarray[Any, Any]:
    return np.flatnonzero(state["nodes"]["left_child"] >= 0)


def _trees() -> list[Entry]:
    def cycle(state: dict[str, Any]) -> None:
        state["nodes"]["left_child"][_inner(state)[1]] = 0

    def own_child(state: dict[str, Any]) -> None:
        last = _inner(state)[-1]
        state["nodes"]["right_child"][last] = last

    def shared_child(state: dict[str, Any]) -> None:
        nodes, inner = state["nodes"], _inner(state)
        nodes["left_child"][inner[0]] = nodes["right_child"][inner[0]]

    def half_leaf(state: dict[str, Any]) -> None:
        state["nodes"]["left_child"][_inner(state)[-1]] = -1

    def truncated(state: dict[str, Any]) -> None:
        state["nodes"] = state["nodes"][:3].copy()
        state["values"] = state["values"][:3].copy()

    def values_short(state: dict[str, Any]) -> None:
        state["values"] = state["values"][:1].copy()

    def values_nan(state: dict[str, Any]) -> None:
        state["values"][0] = np.nan

    def count(number: int) -> Callable[[dict[str, Any]], None]:
        def spoil(state: dict[str, Any]) -> None:
            state["node_count"] = number

        return spoil

    def arguments(*items: Any) -> Callable[[dict[str, Any]], None]:
        def spoil(state: dict[str, Any]) -> None:
            state["arguments"] = items

        return spoil

    def nodes_of(kind: str) -> Callable[[dict[str, Any]], None]:
        def spoil(state: dict[str, Any]) -> None:
            state["nodes"] = np.zeros(len(state["nodes"]), kind)

        return spoil

    def deep(state: dict[str, Any]) -> None:
        """A chain of 200,000 nodes: recursion over it overflows the stack."""
        count_, kind = 200_001, state["nodes"].dtype
        nodes = np.zeros(count_, kind)
        nodes["left_child"][: count_ // 2] = np.arange(1, count_ // 2 + 1)
        nodes["right_child"][: count_ // 2] = np.arange(count_ // 2 + 1, count_)
        nodes["left_child"][count_ // 2 :] = nodes["right_child"][count_ // 2 :] = -1
        nodes["feature"][count_ // 2 :] = -2
        state["nodes"], state["node_count"] = nodes, count_
        state["values"] = np.zeros((count_, *state["values"].shape[1:]))
        state["max_depth"] = 3

    one = np.array([3], np.intp)
    return [
        _tree_entry("child-outside", "a left child beyond the nodes", _set("left_child", 0, 1 << 40)),
        _tree_entry("child-just-outside", "a right child one beyond the nodes",
                    lambda s: _set("right_child", 0, len(s["nodes"]))(s)),
        _tree_entry("child-negative", "a child of -5", _set("right_child", 0, -5)),
        _tree_entry("child-root", "a child that is the root: a loop without end", cycle, "lies"),
        _tree_entry("child-itself", "a node that is its own child", own_child, "lies"),
        _tree_entry("child-shared", "two ways to one node, and nodes that nobody reaches", shared_child, "lies"),
        _tree_entry("half-leaf", "a node with one child", half_leaf),
        _tree_entry("feature-outside", "a feature beyond the row", _set("feature", 0, 1 << 30)),
        _tree_entry("feature-just-outside", "a feature one beyond the row", _set("feature", 0, 4)),
        _tree_entry("feature-negative", "a feature of -100", _set("feature", 0, -100)),
        _tree_entry("threshold-nan", "a threshold that is not a number", _set("threshold", 0, np.nan), "lies"),
        _tree_entry("truncated", "fewer nodes than the children say", truncated),
        _tree_entry("values-short", "fewer values than nodes", values_short),
        _tree_entry("values-nan", "values that are not numbers", values_nan, "lies"),
        _tree_entry("count-large", "more nodes than there are", count(1 << 20)),
        _tree_entry("count-negative", "a negative number of nodes", count(-1)),
        _tree_entry("count-zero", "no nodes", count(0)),
        _tree_entry("outputs", "more outputs than classes: the constructor reads on",
                    arguments(4, one, 1 << 20)),
        _tree_entry("classes", "2**40 classes: the constructor allocates", arguments(4, one * (1 << 40), 1),
                    "lies"),
        _tree_entry("features", "another number of features than the model", arguments(1 << 20, one, 1), "lies"),
        _tree_entry("nodes-layout", "nodes of another layout", nodes_of("<f8")),
        _tree_entry("deep", "a chain of 100,000 nodes that states a depth of 3", deep, "lies"),
    ]  # fmt: skip


# ---- ensembles and the rest ---------------------------------------------------------------------------------------


def spoiled(stem: str, technique: str, make: Callable[[], Any], effect: Effect = "crashes", *,
             refused_by: Any = "model", rule: str = "DP") -> Entry:  # fmt: skip
    return Entry(
        stem, technique, lambda m: _packed(make()), rule, effect, probe=_PREDICT, refused_by=refused_by
    )


def _forests() -> list[Entry]:
    from sklearn.ensemble import (
        GradientBoostingClassifier,
        HistGradientBoostingClassifier,
        IsolationForest,
        RandomForestClassifier,
    )
    from sklearn.tree import DecisionTreeClassifier

    def forest(change: Callable[[Any], None]) -> Callable[[], Any]:
        def make() -> Any:
            model = kit.fitted(RandomForestClassifier(3, max_depth=3, random_state=0))
            change(model)
            return model

        return make

    def wider_tree(model: Any) -> None:
        X, y = kit.rows()
        model.estimators_[1] = DecisionTreeClassifier(max_depth=3).fit(np.c_[X, X], y)

    def other_classes(model: Any) -> None:
        X, y = kit.rows()
        model.estimators_[1] = DecisionTreeClassifier(max_depth=3).fit(X, y % 2)

    def not_a_tree(model: Any) -> None:
        model.estimators_[1] = kit.pipeline()

    def no_trees(model: Any) -> None:
        model.estimators_ = []

    def itself(model: Any) -> None:
        model.estimators_.append(model)

    def features(model: Any) -> None:
        model.n_features_in_ = 2

    def classes(model: Any) -> None:
        model.classes_ = np.arange(9)

    def boosting(change: Callable[[Any], None]) -> Callable[[], Any]:
        def make() -> Any:
            model = kit.fitted(GradientBoostingClassifier(n_estimators=3, random_state=0))
            change(model)
            return model

        return make

    def fewer_columns(model: Any) -> None:
        model.estimators_ = model.estimators_[:, :1]

    def rate(model: Any) -> None:
        model.learning_rate = float("nan")

    def hist(field: str, item: Any) -> Callable[[], Any]:
        def make() -> Any:
            model = kit.fitted(HistGradientBoostingClassifier(max_iter=3, random_state=0))
            predictor = model._predictors[0][0]
            predictor.nodes = predictor.nodes.copy()
            predictor.nodes[field][0] = item
            return model

        return make

    def hist_category() -> Any:
        model = kit.fitted(HistGradientBoostingClassifier(max_iter=3, random_state=0))
        predictor = model._predictors[0][0]
        predictor.nodes = predictor.nodes.copy()
        predictor.nodes["is_categorical"][0] = 1
        predictor.nodes["bitset_idx"][0] = 1 << 30
        return model

    def hist_empty() -> Any:
        model = kit.fitted(HistGradientBoostingClassifier(max_iter=3, random_state=0))
        model._predictors[0][0].nodes = model._predictors[0][0].nodes[:0]
        return model

    def isolation() -> Any:
        model = kit.fitted(IsolationForest(n_estimators=3, random_state=0))
        model.estimators_features_[0] = np.array([0, 1, 2, 1 << 30])
        return model

    s = spoiled
    return [
        s("forest-wider", "a tree over more features than the forest", forest(wider_tree)),
        s("forest-classes", "a tree over other classes than the forest", forest(other_classes), "lies"),
        s("forest-not-a-tree", "a pipeline among the trees", forest(not_a_tree), "lies"),
        s("forest-empty", "a forest without trees", forest(no_trees), "lies"),
        s("forest-itself", "a forest that is one of its trees: recursion without end", forest(itself), "lies"),
        s("forest-features", "a forest that states fewer features than its trees use", forest(features)),
        s("forest-more-classes", "a forest that states more classes than its trees", forest(classes), "lies"),
        s("boosting-columns", "boosting with a column of trees for three classes", boosting(fewer_columns), "lies"),
        s("boosting-rate", "a learning rate that is not a number", boosting(rate), "lies"),
        s("hist-child", "histogram boosting with a child outside", hist("left", 1 << 30)),
        s("hist-cycle", "histogram boosting with a child that is the root", hist("right", 0), "exhausts"),
        s("hist-feature", "histogram boosting with a feature outside", hist("feature_idx", 1 << 20)),
        s("hist-threshold", "histogram boosting with a threshold that is not a number",
          hist("num_threshold", np.nan), "lies"),
        s("hist-leaf", "histogram boosting with a root that says it is a leaf", hist("is_leaf", 1), "lies"),
        s("hist-category", "histogram boosting with a set of categories outside", hist_category),
        s("hist-empty", "histogram boosting without nodes", hist_empty),
        s("isolation-features", "an isolation forest with a feature outside", isolation, "lies"),
    ]  # fmt: skip


def _machines() -> list[Entry]:
    import scipy.sparse
    from sklearn.neighbors import BallTree, KDTree, KNeighborsClassifier
    from sklearn.svm import SVC

    def svc(**changes: Callable[[Any], Any]) -> Callable[[], Any]:
        def make() -> Any:
            model = kit.fitted(SVC())
            for attribute, change in changes.items():
                model.__dict__[attribute] = change(model.__dict__[attribute])
            return model

        return make

    def sparse(kind: str, **changes: Any) -> kit.Builder:
        def build(m: Path) -> bytes:
            matrix = scipy.sparse.random(8, 8, 0.5, kind, random_state=0)
            for attribute, change in changes.items():
                held = copy.deepcopy(getattr(matrix, attribute))
                matrix.__dict__[attribute] = change(held)
            return dumped(package(matrix=matrix))

        return build

    def point(index: int, item: Any) -> Callable[[Any], Any]:
        def change(held: Any) -> Any:
            held[index] = item
            return held

        return change

    def space(cls: Any, position: int, change: Callable[[Any], Any]) -> Callable[[], Any]:
        def make() -> Any:
            model = kit.fitted(KNeighborsClassifier(algorithm="kd_tree"))
            tree = cls(kit.rows()[0])
            function, arguments, state = tree.__reduce__()
            items = list(state)
            items[position] = change(copy.deepcopy(np.asarray(items[position])) if hasattr(items[position], "__len__")
                                     else items[position])  # fmt: skip
            model.__dict__["_tree"] = kit.Raised(function, arguments, tuple(items))
            return model

        return make

    huge = 1 << 40
    s = spoiled
    probe = "loaded['matrix'].dot(__import__('numpy').ones(8)) is None"

    def m(stem: str, technique: str, build: kit.Builder, effect: Effect = "crashes") -> Entry:
        return Entry(f"sparse-{stem}", technique, build, "DP4", effect, probe=probe)

    return [
        s("svc-counts", "more support vectors by class than there are", svc(_n_support=point(0, 1 << 20))),
        s("svc-counts-negative", "a negative number of support vectors", svc(_n_support=point(0, -5))),
        s("svc-coefficients", "fewer coefficients than support vectors", svc(_dual_coef_=lambda a: a[:, :2])),
        s("svc-vectors", "fewer support vectors than coefficients", svc(support_vectors_=lambda a: a[:2])),
        s("svc-width", "support vectors of another width", svc(support_vectors_=lambda a: a[:, :1])),
        s("svc-intercepts", "fewer intercepts than pairs of classes", svc(_intercept_=lambda a: a[:1])),
        s("svc-probabilities", "probabilities of another length", svc(_probA=lambda a: np.zeros(1))),
        s("svc-gamma", "a gamma that is not a number", svc(_gamma=lambda a: float("nan")), "lies"),
        s("svc-support", "indices of support vectors of another length", svc(support_=lambda a: a[:1]), "lies"),
        s("kd-index", "a KD-tree whose index leads outside", space(KDTree, 1, point(0, huge))),
        s("kd-nodes", "a KD-tree of more nodes than there are", space(KDTree, 6, lambda a: 1 << 30)),
        s("kd-levels", "a KD-tree of more levels than there are", space(KDTree, 5, lambda a: 60)),
        s("kd-leaf", "a KD-tree with a leaf size of zero", space(KDTree, 4, lambda a: 0)),
        s("kd-bounds", "a KD-tree whose bounds are too short", space(KDTree, 3, lambda a: a[:, :1])),
        s("kd-data", "a KD-tree with fewer rows than its index", space(KDTree, 0, lambda a: a[:5].copy())),
        s("ball-index", "a ball tree whose index leads outside", space(BallTree, 1, point(0, -huge))),
        s("ball-weights", "a ball tree whose node data are too short", space(BallTree, 2, lambda a: a[:1].copy())),
        m("index-outside", "a compressed matrix with a column outside", sparse("csr", indices=point(0, 1 << 28))),
        m("index-negative", "a compressed matrix with a negative column", sparse("csc", indices=point(0, -9999999))),
        m("pointer-outside", "a compressed matrix whose rows reach beyond the data",
          sparse("csr", indptr=point(-1, 1 << 28))),
        m("pointer-descends", "row pointers that descend", sparse("csr", indptr=point(1, 1 << 20))),
        m("pointer-short", "fewer row pointers than rows", sparse("csr", indptr=lambda a: a[:2])),
        m("shape", "a shape larger than the pointers", sparse("csr", _shape=lambda a: (1 << 20, 8))),
        m("coordinates", "a coordinate matrix with a row outside",
          sparse("coo", coords=lambda a: (a[0] + (1 << 28), a[1]))),
        m("diagonals", "a diagonal matrix with an offset outside", sparse("dia", offsets=point(0, 1 << 28))),
    ]  # fmt: skip


def entries() -> list[Entry]:
    """Every entry of this class."""
    return [*_trees(), *_forests(), *_machines()]
