# SPDX-License-Identifier: Apache-2.0
"""LightGBM's model text and XGBoost's UBJSON or JSON, read for the proof alone.

Formats: LightGBM ``src/io/gbdt_model_text.cpp`` and ``tree.cpp`` (decision_type bit 0 categorical, bit 1 default
left, bits 2 and 3 the missing type); XGBoost "Introduction to Model IO" and its JSON schema; UBJSON draft 12.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ..errors import ParityError
from ..pickles.graph import Record, Value
from .source import SourceTree

__all__ = [
    "lightgbm_category_sets",
    "lightgbm_text",
    "lightgbm_trees",
    "read_ubjson",
    "xgboost_category_sets",
    "xgboost_model",
    "xgboost_trees",
]

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"] | npt.NDArray[np.generic]

MAX_DEPTH = 32
"""Nesting of a booster's document; XGBoost's own stays below 12."""


def _booster(estimator: Record) -> Record:
    value = estimator.get("_Booster")
    if estimator.name == "Booster":
        return estimator
    if not isinstance(value, Record):
        raise _unreadable(f"{estimator.name}._Booster")
    return value


def lightgbm_text(estimator: Record) -> str:
    """The model text inside a LightGBM estimator or Booster."""
    booster = _booster(estimator)
    text = booster.get("_handle")
    if text is None:
        text = booster.get("handle")
    if not isinstance(text, str):
        raise _unreadable("Booster._handle")
    return text


def lightgbm_sections(text: str) -> tuple[dict[str, str], list[dict[str, str]]]:
    """The header and one mapping per tree of a model text."""
    body, _, _ = text.partition("end of trees")
    header_text, *tree_texts = body.split("\nTree=")
    header = dict(line.split("=", 1) for line in header_text.splitlines() if "=" in line)
    trees = [dict(line.split("=", 1) for line in tree.splitlines() if "=" in line) for tree in tree_texts]
    return header, trees


def lightgbm_trees(estimator: Record) -> list[SourceTree]:
    """The trees of a LightGBM model; inner nodes first, then the leaves."""
    _, sections = lightgbm_sections(lightgbm_text(estimator))
    trees = []
    for section in sections:
        try:
            leaves = int(section["num_leaves"])
            inner = leaves - 1
            if inner == 0:
                trees.append(_single_leaf())
                continue
            feature = np.array(section["split_feature"].split(), dtype=np.int64)
            threshold = np.array(section["threshold"].split(), dtype=np.float64)
            kind = np.array(section["decision_type"].split(), dtype=np.int64)
            left = np.array(section["left_child"].split(), dtype=np.int64)
            right = np.array(section["right_child"].split(), dtype=np.int64)
            sets = lightgbm_category_sets(section, kind, threshold)
        except (KeyError, ValueError) as error:
            raise _unreadable("LightGBM model text") from error
        if not all(array.shape == (inner,) for array in (feature, threshold, kind, left, right)):
            raise _unreadable("LightGBM model text")
        pad = np.full(leaves, -1, dtype=np.int64)
        trees.append(
            SourceTree(
                feature=np.concatenate([feature, pad]),
                threshold=np.concatenate([np.where(kind & 1, np.nan, threshold), np.full(leaves, np.nan)]),
                left=np.concatenate([np.where(left < 0, inner + ~left, left), pad]),
                right=np.concatenate([np.where(right < 0, inner + ~right, right), pad]),
                is_leaf=np.arange(inner + leaves) >= inner,
                comparison="<=",
                single=False,
                zero_left=np.concatenate([_zero_left(kind), np.full(leaves, -1, dtype=np.int8)]),
                sets=sets,
            )
        )
    return trees


def lightgbm_category_sets(
    section: Mapping[str, str], decision: npt.NDArray[np.int64], threshold: npt.NDArray[np.float64]
) -> dict[int, frozenset[float]]:
    """The categories that go left at each categorical node of a tree: bit c of the words that belong to it.

    Raises:
        KeyError, ValueError: where the section does not hold them.
    """
    nodes = np.flatnonzero(decision & 1).tolist()
    if not nodes:
        return {}
    bounds = [int(part) for part in section["cat_boundaries"].split()]
    words = [int(part) for part in section["cat_threshold"].split()]
    found = {}
    for node in nodes:
        place = int(threshold[node])
        if place != threshold[node] or not 0 <= place < len(bounds) - 1 or bounds[-1] != len(words):
            raise ValueError("cat_boundaries do not give the words of each categorical split")
        bits = 0
        for word in reversed(words[bounds[place] : bounds[place + 1]]):
            bits = bits << 32 | word
        found[node] = frozenset(float(bit) for bit in range(bits.bit_length()) if bits >> bit & 1)
    return found


def _zero_left(kind: npt.NDArray[np.int64]) -> npt.NDArray[np.int8]:
    """Where zero goes at nodes for which it counts as missing (missing type 1), -1 elsewhere."""
    missing_zero = ((kind >> 2) & 3 == 1) & (kind & 1 == 0)
    return np.where(missing_zero, (kind >> 1) & 1, -1).astype(np.int8)


def _single_leaf() -> SourceTree:
    none = np.array([-1], dtype=np.int64)
    return SourceTree(
        feature=none,
        threshold=np.array([np.nan]),
        left=none,
        right=none,
        is_leaf=np.array([True]),
        comparison="<=",
        single=False,
    )


def _bytes(value: Value) -> bytes:
    """Bytes, or what a bytearray was made of (protocol 2 spells it as Latin-1 text)."""
    if isinstance(value, Record) and value.name == "bytearray" and value.args:
        first = value.args[0]
        value = first.encode("latin-1", "replace") if isinstance(first, str) else first
    if not isinstance(value, bytes):
        raise _unreadable("Booster.handle")
    return value


def xgboost_model(estimator: Record) -> Mapping[str, Json]:
    """The ``learner`` object of an XGBoost estimator or Booster."""
    data = _bytes(_booster(estimator).get("handle"))
    if data[:1] != b"{":
        raise _unreadable("Booster.handle")
    try:
        document = json.loads(data) if data[1:2] in (b'"', b"\n", b" ") else read_ubjson(data)
    except (ValueError, RecursionError) as error:
        raise _unreadable("Booster.handle") from error
    model = _at(document, "Model") if isinstance(document, dict) and "Model" in document else document
    learner = _at(model, "learner")
    if not isinstance(learner, dict):
        raise _unreadable("Booster.handle")
    return learner


def xgboost_trees(estimator: Record) -> list[SourceTree]:
    """The trees of an XGBoost model in source order."""
    booster = _at(dict(xgboost_model(estimator)), "gradient_booster")
    if isinstance(booster, dict) and booster.get("name") == "gblinear":
        return []
    if isinstance(booster, dict) and "gbtree" in booster:  # dart nests its trees one level deeper
        booster = booster["gbtree"]
    entries = _at(_at(booster, "model"), "trees")
    if not isinstance(entries, list):
        raise _unreadable("XGBoost trees")
    trees = []
    for tree in entries:
        left, right = (np.array(_at(tree, f"{side}_children"), dtype=np.int64) for side in ("left", "right"))
        split_type = np.asarray(_at(tree, "split_type"), dtype=np.int64)
        condition = np.asarray(_at(tree, "split_conditions"), dtype=np.float32).astype(np.float64)
        sets = xgboost_category_sets(tree) if split_type.any() else {}
        chosen = sorted(sets)
        left[chosen], right[chosen] = right[chosen], left[chosen]  # its members go right
        trees.append(
            SourceTree(
                feature=np.asarray(_at(tree, "split_indices"), dtype=np.int64),
                threshold=np.where(split_type == 1, np.nan, condition) if split_type.size else condition,
                left=left,
                right=right,
                is_leaf=left < 0,
                comparison="<",
                single=True,
                sets=sets,
            )
        )
    return trees


def xgboost_category_sets(tree: Json) -> dict[int, frozenset[float]]:
    """The categories of each categorical node of a tree; what is among them goes right.

    Raises:
        ParityError: DP710 where the tree does not hold them.
    """
    try:
        listed, nodes, starts, sizes = (
            np.asarray(_at(tree, name), dtype=np.float64).astype(np.int64)
            for name in ("categories", "categories_nodes", "categories_segments", "categories_sizes")
        )
        return {
            int(node): frozenset(listed[start : start + size].astype(np.float64).tolist())
            for node, start, size in zip(nodes, starts, sizes, strict=True)
        }
    except (TypeError, ValueError) as error:
        raise _unreadable("XGBoost model, categories") from error


def _at(value: Json, key: str) -> Json:
    if not isinstance(value, dict) or key not in value:
        raise _unreadable(f"XGBoost model, field {key}")
    return value[key]


_NUMBERS = {
    b"i": ("b", 1),
    b"U": ("B", 1),
    b"I": (">h", 2),
    b"l": (">i", 4),
    b"L": (">q", 8),
    b"d": (">f", 4),
    b"D": (">d", 8),
}
_DTYPES = {b"i": "i1", b"U": "u1", b"I": ">i2", b"l": ">i4", b"L": ">i8", b"d": ">f4", b"D": ">f8"}


class _Ubjson:
    """A cursor over a UBJSON document; strongly typed arrays become numpy arrays."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0

    def take(self, count: int) -> bytes:
        if count < 0 or self.place + count > len(self.data):
            raise ValueError("UBJSON ends early")
        chunk = self.data[self.place : self.place + count]
        self.place += count
        return chunk

    def number(self, marker: bytes) -> int | float:
        if marker not in _NUMBERS:
            raise ValueError("UBJSON number expected")
        code, size = _NUMBERS[marker]
        value: int | float = struct.unpack(code, self.take(size))[0]
        return value

    def length(self) -> int:
        value = self.number(self.take(1))
        if not isinstance(value, int) or value < 0:
            raise ValueError("UBJSON length expected")
        return value

    def text(self) -> str:
        return self.take(self.length()).decode("utf-8")

    def value(self, marker: bytes, depth: int) -> Json:
        if depth > MAX_DEPTH:
            raise ValueError("UBJSON nests too deep")
        if marker in _NUMBERS:
            return self.number(marker)
        match marker:
            case b"Z":
                return None
            case b"T" | b"F":
                return marker == b"T"
            case b"S":
                return self.text()
            case b"{":
                return self.object(depth)
            case b"[":
                return self.array(depth)
            case _:
                raise ValueError("UBJSON marker unknown")

    def object(self, depth: int) -> Json:
        found: dict[str, Json] = {}
        if self.data[self.place : self.place + 1] in (b"$", b"#"):
            raise ValueError("UBJSON typed objects are not used by XGBoost")
        while self.data[self.place : self.place + 1] != b"}":
            key = self.text()
            if key in found:
                raise ValueError("UBJSON key repeated")
            found[key] = self.value(self.take(1), depth + 1)
        self.take(1)
        return found

    def array(self, depth: int) -> Json:
        kind: bytes | None = None
        if self.data[self.place : self.place + 1] == b"$":
            self.take(1)
            kind = self.take(1)
        if self.data[self.place : self.place + 1] == b"#":
            self.take(1)
            count = self.length()
            if kind is not None:
                if kind not in _DTYPES:
                    raise ValueError("UBJSON array type unknown")
                dtype = np.dtype(_DTYPES[kind])
                return np.frombuffer(self.take(count * dtype.itemsize), dtype=dtype)
            if count > len(self.data) - self.place:
                raise ValueError("UBJSON ends early")
            return [self.value(self.take(1), depth + 1) for _ in range(count)]
        if kind is not None:
            raise ValueError("UBJSON typed array without a count")
        items: list[Json] = []
        while self.data[self.place : self.place + 1] != b"]":
            items.append(self.value(self.take(1), depth + 1))
        self.take(1)
        return items


def read_ubjson(data: bytes) -> Json:
    """Decode a UBJSON document.

    Raises:
        ValueError: where it is malformed, nests too deep, repeats a key, or is followed by more bytes.
    """
    cursor = _Ubjson(data)
    value = cursor.value(cursor.take(1), 0)
    if cursor.place != len(data):
        raise ValueError("UBJSON is followed by more bytes")
    return value


def _unreadable(where: str) -> ParityError:
    return ParityError(
        "The original cannot be read for the proof",
        code="DP710",
        where=where,
        found="something else than the format documents",
        expected="a model text or document of LightGBM or XGBoost",
        next_step="depickle inspect FILE",
    )
