# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E501  (an entry of a table reads best on its line)
"""LightGBM text and XGBoost documents that their C++ parsers would read without asking."""

from __future__ import annotations

import copy
import functools
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import kit
from .kit import Effect, Entry, dumped, package, reconstructed

__all__ = ["entries"]

_PREDICT = "loaded['pipeline'].predict(__import__('numpy').zeros((50, 4))) is None"


@functools.cache
def _lightgbm() -> Any:
    from lightgbm import LGBMClassifier

    return kit.fitted(LGBMClassifier(n_estimators=2, num_leaves=5, n_jobs=1, verbosity=-1))


@functools.cache
def _xgboost() -> Any:
    from xgboost import XGBClassifier

    return kit.fitted(XGBClassifier(n_estimators=2, max_depth=3, n_jobs=1))


def _with_text(change: Callable[[str], str]) -> kit.Builder:
    def build(m: Path) -> bytes:
        model = _lightgbm()
        booster = model.booster_
        state = booster.__getstate__()
        key = "_handle" if "_handle" in state else "handle"
        changed = change(state[key])
        if changed == state[key]:
            raise LookupError("the model text was not changed")
        fields = dict(model.__getstate__())
        fields["_Booster"] = reconstructed(type(booster), {**state, key: changed})
        return dumped(package(pipeline=reconstructed(type(model), fields)))

    return build


def _line(field: str, change: Callable[[list[str]], list[str]], count: int = 1) -> Callable[[str], str]:
    """Changes the values of the first line ``field=…``."""

    def changed(text: str) -> str:
        return re.sub(rf"(?m)^{field}=(.*)$", lambda g: f"{field}=" + " ".join(change(g[1].split(" "))), text,
                      count=count)  # fmt: skip

    return changed


def _first(item: str) -> Callable[[list[str]], list[str]]:
    return lambda values: [item, *values[1:]]


def _lightgbms() -> list[Entry]:
    def one(stem: str, technique: str, change: Callable[[str], str], effect: Effect = "crashes") -> Entry:
        return Entry(f"lightgbm-{stem}", technique, _with_text(change), "DP", effect, probe=_PREDICT,
                     refused_by="model")  # fmt: skip

    def cut(text: str) -> str:
        return text[: text.index("left_child")]

    def sizes(text: str) -> str:
        return re.sub(r"(?m)^tree_sizes=.*$", "tree_sizes=999999999 999999999", text)

    def categorical(text: str) -> str:
        text = re.sub(
            r"(?m)^num_cat=0$", "num_cat=1\ncat_boundaries=0 99999999\ncat_threshold=1", text, count=1
        )
        return re.sub(r"(?m)^decision_type=\d+", "decision_type=1", text, count=1)

    return [
        one("child-outside", "a child beyond the nodes", _line("left_child", _first("999999"))),
        one("child-negative", "a leaf beyond the leaves", _line("right_child", _first("-999999"))),
        one("child-root", "a child that is the root", _line("left_child", _first("0")), "crashes"),
        one("feature-outside", "a feature beyond the row", _line("split_feature", _first("1000000"))),
        one("feature-negative", "a negative feature", _line("split_feature", _first("-3"))),
        one("threshold-nan", "a threshold that is not a number", _line("threshold", _first("nan")), "lies"),
        one("threshold-text", "a threshold that is text", _line("threshold", _first("abc")), "lies"),
        one("leaves-many", "2**31-1 leaves", _line("num_leaves", lambda v: ["2147483647"])),
        one("leaves-negative", "a negative number of leaves", _line("num_leaves", lambda v: ["-1"])),
        one("leaves-zero", "no leaves", _line("num_leaves", lambda v: ["0"])),
        one("leaf-values", "fewer values than leaves", _line("leaf_value", lambda v: v[:1])),
        one("leaf-nan", "a leaf that is not a number", _line("leaf_value", _first("nan")), "lies"),
        one("leaf-hex", "a leaf as a hexadecimal number, which parsers read differently",
            _line("leaf_value", _first("0x1p3")), "lies"),
        one("children-short", "fewer children than splits", _line("left_child", lambda v: v[:1])),
        one("cut", "cut off within a tree", cut),
        one("sizes", "tree sizes beyond the text", sizes),
        one("classes", "another number of classes than trees", _line("num_class", lambda v: ["1000000"])),
        one("per-iteration", "no tree per iteration, by which is divided",
            _line("num_tree_per_iteration", lambda v: ["0"])),
        one("features-many", "2**31-1 features", _line("max_feature_idx", lambda v: ["2147483646"])),
        one("features-few", "fewer features than the trees use", _line("max_feature_idx", lambda v: ["0"])),
        one("categories", "boundaries of categories beyond their bits", categorical),
        one("decision", "an unknown kind of decision", _line("decision_type", _first("255")), "lies"),
        one("linear", "a linear tree without its coefficients", lambda t: t.replace("is_linear=0", "is_linear=1", 1)),
        one("objective", "an unknown objective", _line("objective", lambda v: ["custom"]), "lies"),
        one("version", "a version that does not exist", _line("version", lambda v: ["v99"]), "lies"),
        one("double-line", "a line twice, with other values", lambda t: t.replace(
            "\nnum_leaves=", "\nnum_leaves=2\nnum_leaves=", 1), "lies"),
        one("null", "a null byte ends the text for C", lambda t: t[:400] + "\0" + t[400:], "lies"),
        one("empty", "an empty text", lambda t: ""),
        one("garbage", "text that is no model", lambda t: "tree\n" + "x=" * 9999, "lies"),
        Entry("lightgbm-handle", "a number where the text belongs, which C takes for an address", _handle(0x41414141),
              "DP", "none", refused_by="model"),
        Entry("lightgbm-both", "two texts, of which one reader takes the first and another the second", _both(), "DP",
              "lies", refused_by="model"),
    ]  # fmt: skip


def _handle(number: int) -> kit.Builder:
    def build(m: Path) -> bytes:
        model = _lightgbm()
        booster = model.booster_
        fields = dict(model.__getstate__())
        fields["_Booster"] = reconstructed(type(booster), {**booster.__getstate__(), "_handle": number})
        return dumped(package(pipeline=reconstructed(type(model), fields)))

    return build


def _both() -> kit.Builder:
    def build(m: Path) -> bytes:
        model = _lightgbm()
        booster = model.booster_
        state = booster.__getstate__()
        text = state.get("_handle", state.get("handle"))
        other = _line("leaf_value", _first("99.0"))(text)
        fields = dict(model.__getstate__())
        fields["_Booster"] = reconstructed(type(booster), {**state, "_handle": text, "handle": other})
        return dumped(package(pipeline=reconstructed(type(model), fields)))

    return build


# ---- XGBoost ------------------------------------------------------------------------------------------------------


def _with_handle(handle: Any) -> bytes:
    model = _xgboost()
    booster = model.get_booster()
    state = dict(booster.__getstate__())
    state["handle"] = handle
    fields = dict(model.__getstate__()) if hasattr(model, "__getstate__") else dict(model.__dict__)
    fields["_Booster"] = reconstructed(type(booster), state)
    return dumped(package(pipeline=reconstructed(type(model), fields)))


def _document() -> dict[str, Any]:
    """The booster with its configuration, as JSON."""
    booster = _xgboost().get_booster()
    model = json.loads(bytes(booster.save_raw("json")))
    return {"Config": json.loads(booster.save_config()), "Model": model}


def _with_document(change: Callable[[dict[str, Any]], None]) -> kit.Builder:
    def build(m: Path) -> bytes:
        document = copy.deepcopy(_document())
        change(document)
        return _with_handle(bytearray(json.dumps(document, separators=(",", ":")).encode()))

    return build


def _tree(document: dict[str, Any]) -> dict[str, Any]:
    trees: list[dict[str, Any]] = document["Model"]["learner"]["gradient_booster"]["model"]["trees"]
    return trees[0]


def _field(field: str, item: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        _tree(document)[field][0] = item

    return change


def _parameter(field: str, item: str) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        _tree(document)["tree_param"][field] = item

    return change


def _learner(field: str, item: str) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        document["Model"]["learner"]["learner_model_param"][field] = item

    return change


def _raw(change: Callable[[bytes], bytes]) -> kit.Builder:
    def build(m: Path) -> bytes:
        handle = bytes(_xgboost().get_booster().__getstate__()["handle"])
        return _with_handle(bytearray(change(handle)))

    return build


def _xgboosts() -> list[Entry]:
    def one(stem: str, technique: str, build: kit.Builder, effect: Effect = "crashes") -> Entry:
        return Entry(f"xgboost-{stem}", technique, build, "DP", effect, probe=_PREDICT, refused_by="model")

    def short(document: dict[str, Any]) -> None:
        tree = _tree(document)
        tree["split_conditions"] = tree["split_conditions"][:1]

    def cycle(document: dict[str, Any]) -> None:
        tree = _tree(document)
        tree["left_children"][1] = 0 if tree["left_children"][1] != -1 else -1
        tree["left_children"][0] = 0

    def no_trees(document: dict[str, Any]) -> None:
        document["Model"]["learner"]["gradient_booster"]["model"]["trees"] = []

    def groups(document: dict[str, Any]) -> None:
        document["Model"]["learner"]["gradient_booster"]["model"]["tree_info"][0] = 1 << 20

    def categories(document: dict[str, Any]) -> None:
        tree = _tree(document)
        tree["split_type"][0] = 1
        tree["categories_nodes"], tree["categories_segments"] = [0], [0]
        tree["categories_sizes"], tree["categories"] = [1 << 30], [1 << 30]

    def vector_leaf(document: dict[str, Any]) -> None:
        _tree(document)["tree_param"]["size_leaf_vector"] = str(1 << 20)

    def counted(document: dict[str, Any]) -> None:
        model = document["Model"]["learner"]["gradient_booster"]["model"]
        model["gbtree_model_param"]["num_trees"] = "1000000000"

    def named(document: dict[str, Any]) -> None:
        document["Model"]["learner"]["gradient_booster"]["name"] = "dart"

    def objective(document: dict[str, Any]) -> None:
        document["Model"]["learner"]["objective"]["name"] = "rank:custom"

    def deleted(document: dict[str, Any]) -> None:
        _tree(document)["right_children"] = _tree(document)["right_children"][:-1]

    def document_twice(m: Path) -> bytes:
        """A key twice: one parser keeps the first, another the last."""
        text = json.dumps(_document(), separators=(",", ":"))
        learner = json.dumps(_document()["Model"]["learner"], separators=(",", ":"))
        return _with_handle(
            bytearray(text.replace('"Model":{', '"Model":{"learner":' + learner + ",", 1).encode())
        )

    def deep_json(m: Path) -> bytes:
        return _with_handle(bytearray(b'{"Config":' + b"[" * 100_000 + b"]" * 100_000 + b"}"))

    def deep_ubjson(m: Path) -> bytes:
        return _with_handle(bytearray(b"{L" + struct.pack(">q", 6) + b"Config" + b"[" * 200_000))

    def counted_array(m: Path) -> bytes:
        return _with_handle(
            bytearray(b"{L" + struct.pack(">q", 6) + b"Config" + b"[$d#L" + struct.pack(">q", 1 << 60))
        )

    def counted_null(m: Path) -> bytes:
        """2**40 values without a byte each."""
        return _with_handle(
            bytearray(b"{L" + struct.pack(">q", 6) + b"Config" + b"[$Z#L" + struct.pack(">q", 1 << 40))
        )

    def negative_count(m: Path) -> bytes:
        return _with_handle(bytearray(b"{L" + struct.pack(">q", -1) + b"Config"))

    def text_handle(m: Path) -> bytes:
        return _with_handle(str(_document()))

    return [
        one("child-outside", "a child beyond the nodes", _with_document(_field("left_children", 1 << 28))),
        one("child-negative", "a child of -7", _with_document(_field("right_children", -7))),
        one("child-root", "a child that is the root", _with_document(cycle), "crashes"),
        one("feature-outside", "a feature beyond the row", _with_document(_field("split_indices", 1 << 20))),
        one("threshold-text", "a threshold that is text", _with_document(_field("split_conditions", "x"))),
        one("threshold-huge", "a threshold beyond 32 bits", _with_document(_field("split_conditions", 1e300)), "lies"),
        one("default-text", "a default direction that is 7", _with_document(_field("default_left", 7)), "lies"),
        one("arrays-short", "fewer thresholds than nodes", _with_document(short)),
        one("children-short", "fewer right children than left ones", _with_document(deleted)),
        one("nodes-many", "2**31-1 nodes", _with_document(_parameter("num_nodes", "2147483647"))),
        one("nodes-negative", "a negative number of nodes", _with_document(_parameter("num_nodes", "-1"))),
        one("nodes-text", "a number of nodes that is text", _with_document(_parameter("num_nodes", "x"))),
        one("features-many", "a model of 2**31-1 features", _with_document(_learner("num_feature", "2147483647"))),
        one("classes-many", "a model of 1,000,000 classes", _with_document(_learner("num_class", "1000000"))),
        one("base-score", "a base score that is not a number", _with_document(_learner("base_score", "nan")), "lies"),
        one("trees-none", "no trees, though counted", _with_document(no_trees)),
        one("trees-counted", "10**9 trees, two present", _with_document(counted)),
        one("groups", "a tree for a class beyond the classes", _with_document(groups)),
        one("categories", "categories beyond their segment", _with_document(categories)),
        one("vector-leaf", "a leaf of 2**20 values", _with_document(vector_leaf)),
        one("booster-name", "a booster of another kind than its model", _with_document(named), "lies"),
        one("objective", "an unknown objective", _with_document(objective), "lies"),
        one("key-twice", "a key twice", document_twice, "lies"),
        one("deep-json", "JSON nested 100,000 deep", deep_json),
        one("deep-ubjson", "UBJSON nested 200,000 deep", deep_ubjson),
        one("counted-array", "a counted array of 2**60 numbers", counted_array, "crashes"),
        one("counted-null", "a counted array of 2**40 nothings", counted_null, "crashes"),
        one("counted-negative", "a key of -1 bytes", negative_count),
        one("cut", "cut off in the middle", _raw(lambda h: h[: len(h) // 2])),
        one("cut-end", "cut off at the end", _raw(lambda h: h[:-1])),
        one("trailing", "bytes behind the document", _raw(lambda h: h + b"{}"), "lies"),
        one("binary", "the binary format of old versions", _raw(lambda h: b"binf" + b"\xff" * 400)),
        one("empty", "an empty document", _raw(lambda h: b"")),
        one("text", "a document that is text", text_handle, "none"),
    ]  # fmt: skip


def entries() -> list[Entry]:
    """Every entry of this class."""
    return [*_lightgbms(), *_xgboosts()]
