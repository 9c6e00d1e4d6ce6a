# SPDX-License-Identifier: Apache-2.0
"""Which library versions wrote a pickle, as far as its inert graph says; hostile text until a table knows it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from .graph import Array, DictNode, Record
from .lightgbm_release import lightgbm_releases

__all__ = ["read_writer"]

_VERSION = re.compile(r"\d{1,4}(\.\d{1,4}){1,3}([a-z]+\d{0,3})?\Z", re.ASCII)
_ASK_DECISIONS = frozenset(
    {
        "sklearn.calibration.CalibratedClassifierCV",
        "sklearn.multiclass.OneVsOneClassifier",
        "sklearn.multiclass.OneVsRestClassifier",
    }
)
"""Ask members for a decision_function where they have one; LightGBM's classifier has one since 4.7."""
_LIGHTGBM_TEXT = re.compile(r"tree\nversion=(v\d{1,3})\r?\n", re.ASCII)


def read_writer(records: Iterable[Record], modules: Iterable[str]) -> Mapping[str, str]:
    """Library to version as the graph records it.

    ``scikit-learn`` is exact (``_sklearn_version``). ``numpy`` is ``1`` or ``2``, from the module paths, where they
    tell. ``lightgbm`` and ``xgboost`` are exact where the pickle says, else ``unknown`` where a booster is present.
    LightGBM writes no release number, only the version of its model text: ``v3`` up to 3.x, ``v4`` from 4.0, and any
    release of that version answers alike. Not so inside compositions that ask for a decision function: there the
    releases that write such a text are named, joined by `` or ``.
    Several scikit-learn versions in one file are joined by a comma, so that no table holds them.

    Args:
        records: every record of the stream.
        modules: the module of every name that the stream uses.
    """
    found: dict[str, str] = {}
    versions: set[str] = set()
    records = list(records)
    telling = any(record.cls in _ASK_DECISIONS for record in records)
    for record in records:
        state = record.state
        if not isinstance(state, DictNode):
            continue
        version = state.items.get("_sklearn_version")
        if isinstance(version, str):
            versions.add(version if _VERSION.match(version) else "unreadable")
        if record.name == "Booster" and record.module == "xgboost.core":
            found["xgboost"] = _xgboost_version(state.items.get("handle"))
        elif record.name == "Booster" and record.module == "lightgbm.basic":
            text = state.items.get("_handle", state.items.get("handle"))
            found["lightgbm"] = _lightgbm_version(text, telling=telling)
        elif record.module.startswith("lightgbm."):
            found.setdefault("lightgbm", "unknown")
        elif record.module.startswith("xgboost."):
            found.setdefault("xgboost", "unknown")
    if versions:
        found["scikit-learn"] = ",".join(sorted(versions))
    names = set(modules)
    if any(name.startswith("numpy._core") for name in names):
        found["numpy"] = "2"
    elif any(name.startswith("numpy.core") for name in names):
        found["numpy"] = "1"
    return dict(sorted(found.items()))


def _xgboost_version(handle: object) -> str:
    """The ``version`` array of XGBoost's JSON or UBJSON: near the end of the model, three small integers."""
    if isinstance(handle, Array) and handle.data is not None:
        handle = bytes(handle.data)
    if not isinstance(handle, bytes):
        return "unknown"
    json = re.search(rb'"version":\[(\d{1,3}),(\d{1,3}),(\d{1,3})\]', handle[-400:])
    if json:
        return ".".join(part.decode() for part in json.groups())
    at = handle.rfind(b"version[#L")
    if at < 0:
        return "unknown"
    tail = handle[at + len(b"version[#L") + 8 : at + len(b"version[#L") + 14]
    if len(tail) == 6 and tail[0::2] == b"iii":
        return ".".join(str(part) for part in tail[1::2])
    return "unknown"


def _lightgbm_version(text: object, *, telling: bool) -> str:
    """The version of the model text, from its second line (LightGBM, ``src/boosting/gbdt_model_text.cpp``)."""
    found = _LIGHTGBM_TEXT.match(text) if isinstance(text, str) else None
    if found is None or not isinstance(text, str):
        return "unknown"
    return (" or ".join(lightgbm_releases(text)) if telling and found[1] == "v4" else "") or found[1]
