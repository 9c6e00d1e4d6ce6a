# SPDX-License-Identifier: Apache-2.0
"""State, items and roles: BUILD where none belongs, attributes that replace methods, names used as something else."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from . import kit
from .kit import (
    Entry,
    args,
    call,
    inside,
    many,
    mapping,
    name,
    new,
    package,
    shell,
    source,
    stacked,
    stream,
    text,
    value,
)

__all__ = ["entries"]

_SCALER = ("sklearn.preprocessing._data", "StandardScaler")
_LINK = ("sklearn._loss.link", "LogitLink")


def _on_what_takes_none() -> list[Entry]:
    def class_plants_setstate(m: Path) -> bytes:
        slots = pickle.EMPTY_DICT + text("__setstate__") + name("os", "system") + pickle.SETITEM
        planted = name(*_LINK) + pickle.NONE + slots + pickle.TUPLE2 + pickle.BUILD
        return inside(planted + pickle.EMPTY_TUPLE + pickle.NEWOBJ + text(shell(m)) + pickle.BUILD)

    def class_attribute(m: Path) -> bytes:
        return inside(name(*_LINK) + many(pickle.NONE, value({"link": None})) + pickle.BUILD)

    def function_attribute(m: Path) -> bytes:
        function = name("sklearn.feature_selection._univariate_selection", "f_classif")
        return inside(function + value({"__defaults__": (1,), "evil": True}) + pickle.BUILD)

    def function_code(m: Path) -> bytes:
        """The code of one function is given to another through its slots."""
        slots = mapping({"__kwdefaults__": value({"evil": 1})})
        return inside(name("sklearn.base", "clone") + many(pickle.NONE, slots) + pickle.BUILD)

    def module_attribute(m: Path) -> bytes:
        """A dict without a class: state for a module that a dotted name reached."""
        return inside(stacked("joblib.disk", "os") + value({"evil": True}) + pickle.BUILD)

    def two_faced_names(m: Path) -> bytes:
        """Attributes of an honest function become the module and name of STACK_GLOBAL."""
        prod = name("numpy", "prod")
        planted = prod + pickle.NONE + value({"a": "os"}) + pickle.TUPLE2 + pickle.BUILD
        planted += pickle.NONE + value({"b": "system"}) + pickle.TUPLE2 + pickle.BUILD
        names = stacked("numpy", "prod.a") + stacked("numpy", "prod.b") + pickle.STACK_GLOBAL
        return stream(planted, names, args(shell(m)), pickle.REDUCE, pickle.TUPLE2)

    def allowlisted_shape(m: Path) -> bytes:
        """numpy.size gets the builtins as its attribute `shape`, and then is called for `eval`."""
        size = stacked("numpy", "size") + pickle.MEMOIZE + pickle.MEMOIZE
        builtins = stacked("numpy", "__builtins__") + pickle.MEMOIZE
        state = pickle.EMPTY_DICT + pickle.EMPTY_DICT + text("shape") + pickle.BINGET + b"\x02"
        state += pickle.SETITEM + pickle.TUPLE2 + pickle.BUILD
        function = call(pickle.BINGET + b"\x01", pickle.BINGET + b"\x01" + text("eval") + pickle.TUPLE2)
        return stream(size, builtins, state, call(function, args(source(m))), pickle.TUPLE3)

    def string_state(m: Path) -> bytes:
        return inside(new(name(*_SCALER)) + text("x") + pickle.BUILD)

    def list_state(m: Path) -> bytes:
        return inside(new(name(*_SCALER)) + value([1, 2]) + pickle.BUILD)

    def on_a_dict(m: Path) -> bytes:
        return inside(value({}) + value({"a": 1}) + pickle.BUILD)

    def on_a_list(m: Path) -> bytes:
        return inside(value([]) + value({"a": 1}) + pickle.BUILD)

    def on_a_string(m: Path) -> bytes:
        return inside(text("x") + value({"a": 1}) + pickle.BUILD)

    def twice(m: Path) -> bytes:
        scaler = new(name(*_SCALER)) + value({"with_mean": True}) + pickle.BUILD
        return inside(scaler + value({"with_mean": False}) + pickle.BUILD)

    def later_by_memo(m: Path) -> bytes:
        scaler = new(name(*_SCALER)) + pickle.MEMOIZE + value({"with_mean": True}) + pickle.BUILD
        return inside(many(scaler, pickle.BINGET + b"\x00" + value({"with_mean": False}) + pickle.BUILD))

    def shared_state(m: Path) -> bytes:
        """Two objects with one dict: what is set on one shows on the other."""
        state = value({"with_mean": True}) + pickle.MEMOIZE
        return inside(many(new(name(*_SCALER)) + state + pickle.BUILD,
                           new(name(*_SCALER)) + pickle.BINGET + b"\x00" + pickle.BUILD))  # fmt: skip

    def growing_state(m: Path) -> bytes:
        """The state is given while its dict still grows: the object keeps the start, the graph shows the end."""
        grown = pickle.EMPTY_DICT + pickle.MEMOIZE + text("with_mean") + pickle.NEWTRUE + pickle.SETITEM
        scaler = new(name(*_SCALER)) + pickle.BINGET + b"\x00" + pickle.NONE + pickle.TUPLE2 + pickle.BUILD
        return inside(
            grown + text("n") + scaler + pickle.SETITEM + text("predict") + pickle.NONE + pickle.SETITEM
        )

    def growing_objects(m: Path) -> bytes:
        """An array of objects takes a list that still grows: one element when built, two in the graph."""
        dtype = call(name("numpy", "dtype"), args("O8", False, True))
        dtype += args(3, "|", None, None, None, -1, -1, 63) + pickle.BUILD
        array = call(name("numpy._core.multiarray", "_reconstruct"),
                     many(name("numpy", "ndarray"), args(0), kit.raw(b"b")))  # fmt: skip
        state = many(value(1), args(1), dtype, pickle.NEWFALSE, pickle.BINGET + b"\x00")
        grown = pickle.EMPTY_LIST + pickle.MEMOIZE + text("a") + pickle.APPEND
        return inside(grown + array + state + pickle.BUILD + pickle.APPEND)

    none, changes = "none", "changes"
    return [
        Entry("state-class-setstate", "BUILD on a class plants the __setstate__ that the next BUILD calls",
              class_plants_setstate, "DP4", "runs"),
        Entry("state-class", "BUILD on a class replaces a method for the whole process", class_attribute, "DP4",
              changes, probe="__import__('sklearn._loss.link')._loss.link.LogitLink.link is None"),
        Entry("state-function", "BUILD on an admitted function", function_attribute, "DP4", changes,
              probe="hasattr(__import__('sklearn.feature_selection').feature_selection.f_classif, 'evil')"),
        Entry("state-function-slots", "BUILD on a function through slots", function_code, "DP4", none),
        Entry("state-module", "BUILD on a module", module_attribute, "DP4", changes,
              probe="hasattr(__import__('os'), 'evil')"),
        Entry("state-names", "attributes of a function become a module and a name", two_faced_names, "DP4", "runs",
              "modelscan issue 85"),
        Entry("state-shape", "numpy.size is turned into a way to builtins", allowlisted_shape, "DP4", none,
              "modelscan issue 330"),
        Entry("state-text", "a string as state", string_state, "DP43", none),
        Entry("state-list", "a list as the state of an estimator", list_state, "DP4", none),
        Entry("state-on-dict", "BUILD on a dict", on_a_dict, "DP43", none),
        Entry("state-on-list", "BUILD on a list", on_a_list, "DP43", none),
        Entry("state-on-text", "BUILD on a string", on_a_string, "DP43", none),
        Entry("state-twice", "a second state for one object", twice, "DP43", "lies"),
        Entry("state-later", "a second state through the memo", later_by_memo, "DP43", "lies"),
        Entry("state-shared", "two objects with one state", shared_state, "DP43", "lies"),
        Entry("state-growing", "a state that grows after it was given", growing_state, "DP4", "lies"),
        Entry("state-growing-array", "an array of objects whose list grows after it was given", growing_objects,
              "DP4", "lies"),
    ]  # fmt: skip


def _shadows() -> list[Entry]:
    def shadowed(attribute: str, held: Any) -> kit.Builder:
        def build(m: Path) -> bytes:
            estimator = kit.pipeline().steps[-1][1]
            state = estimator.__getstate__() | {attribute: held}
            return kit.dumped(package(pipeline=kit.reconstructed(type(estimator), state)))

        return build

    def slots_on_a_kernel(m: Path) -> bytes:
        """State through slots goes by setattr, and so through the setters of properties."""
        kernel = new(name("sklearn.gaussian_process.kernels", "RBF"))
        slots = mapping({"length_scale": value(1.0), "predict": name("numpy", "log")})
        return inside(kernel + many(pickle.NONE, slots) + pickle.BUILD)

    def numpy_text_key(m: Path) -> bytes:
        """The key `predict` as a numpy string, which is equal to it and of another type."""
        import numpy as np

        return kit.dumped(package(extra=kit.reconstructed(_scaler_class(), {np.str_("transform"): 1})))

    import numpy as np

    return [
        Entry(f"shadow-{attribute.strip('_').replace('_', '-')}", f"an attribute {attribute} on the instance",
              shadowed(attribute, held), "DP4", effect, probe=probe, refused_by="gate")
        for attribute, held, effect, probe in (
            ("predict", np.log1p, "lies", None),
            ("predict_proba", np.exp, "lies", None),
            ("decision_function", np.mean, "lies", None),
            ("get_params", np.sin, "lies", None),
            ("__setstate__", np.log1p, "none", None),
            ("__reduce_ex__", np.log1p, "none", None),
            ("__class__", np.ndarray, "none", None),
            ("__sklearn_tags__", np.log1p, "lies", None),
            ("_predict_proba_lr", np.exp, "lies", None),
            ("_check_n_features", np.isnan, "lies", None),
            ("_get_tags", np.isnan, "lies", None),
        )
    ] + [
        Entry("shadow-slots", "a method replaced through the slots of a kernel", slots_on_a_kernel, "DP4", "lies"),
        Entry("shadow-numpy-key", "an attribute whose name is a numpy string", numpy_text_key, "DP4", "none"),
    ]  # fmt: skip


def _scaler_class() -> Any:
    from sklearn.preprocessing import StandardScaler

    return StandardScaler


def _items() -> list[Entry]:
    def appends(m: Path) -> bytes:
        return inside(new(name(*_SCALER)) + pickle.MARK + value(1) + pickle.APPENDS)

    def appends_deque(m: Path) -> bytes:
        deque = call(name("collections", "deque"), args())
        return inside(deque + pickle.MARK + value(1) + pickle.APPENDS)

    def setitems(m: Path) -> bytes:
        return inside(new(name(*_SCALER)) + pickle.MARK + text("a") + value(1) + pickle.SETITEMS)

    def setitem_on_array(m: Path) -> bytes:
        array = kit.value(kit.rows()[0][:2])
        return inside(array + value(0) + value(1.0) + pickle.SETITEM)

    def setitem_on_frame(m: Path) -> bytes:
        frame = new(name("pandas.core.frame", "DataFrame"))
        return inside(frame + text("a") + value(1.0) + pickle.SETITEM)

    def setitem_on_module(m: Path) -> bytes:
        namespace = stacked("os", "environ")
        return inside(namespace + text("DEPICKLE_ATTACK") + text("1") + pickle.SETITEM)

    def setitem_on_sys_modules(m: Path) -> bytes:
        """A module is replaced in sys.modules, and the next name finds the replacement."""
        replaced = stacked("sys", "modules") + text("json") + name("os", "path") + pickle.SETITEM
        return inside(replaced)

    def additems(m: Path) -> bytes:
        return inside(value({}) + pickle.MARK + value(1) + pickle.ADDITEMS)

    def additems_frozen(m: Path) -> bytes:
        frozen = pickle.MARK + value(1) + pickle.FROZENSET
        return inside(frozen + pickle.MARK + value(2) + pickle.ADDITEMS)

    def finished_list(m: Path) -> bytes:
        grown = value([]) + pickle.MEMOIZE
        return inside(many(grown, pickle.BINGET + b"\x00" + value(1) + pickle.APPEND))

    def finished_dict(m: Path) -> bytes:
        held = value({"a": 1}) + pickle.MEMOIZE
        return inside(many(held, pickle.BINGET + b"\x00" + text("b") + value(2) + pickle.SETITEM))

    def key_twice(m: Path) -> bytes:
        """A reader that keeps the first sees one model, pickle another."""
        first, second = value(kit.pipeline()), value(None)
        pairs = text("pipeline") + first + text("pipeline") + second
        return stream(pickle.EMPTY_DICT + pickle.MARK + pairs + pickle.SETITEMS)

    def equal_keys(m: Path) -> bytes:
        return inside(pickle.EMPTY_DICT + pickle.MARK + value(1) + value("a") + value(True) + value("b")
                      + pickle.SETITEMS)  # fmt: skip

    def odd(m: Path) -> bytes:
        return inside(pickle.EMPTY_DICT + pickle.MARK + text("a") + pickle.SETITEMS)

    def object_key(m: Path) -> bytes:
        return inside(pickle.EMPTY_DICT + new(name(*_SCALER)) + value(1) + pickle.SETITEM)

    def list_key(m: Path) -> bytes:
        return inside(pickle.EMPTY_DICT + value([]) + value(1) + pickle.SETITEM)

    return [
        Entry("items-append", "APPENDS on an estimator calls its method", appends, "DP43", "none"),
        Entry("items-deque", "APPENDS on a deque", appends_deque, "DP43", "lies"),
        Entry("items-set", "SETITEMS on an estimator", setitems, "DP43", "none"),
        Entry("items-array", "SETITEM writes into an array", setitem_on_array, "DP43", "lies"),
        Entry("items-frame", "SETITEM on a data frame calls pandas", setitem_on_frame, "DP4", "none"),
        Entry("items-environ", "SETITEM changes the environment", setitem_on_module, "DP4", "changes",
              probe="'DEPICKLE_ATTACK' in __import__('os').environ"),
        Entry("items-sys-modules", "SETITEM replaces a module", setitem_on_sys_modules, "DP4", "changes",
              "picklescan sys_module_override", "__import__('sys').modules['json'] is __import__('os').path"),
        Entry("items-add-dict", "ADDITEMS on a dict", additems, "DP43", "none"),
        Entry("items-add-frozen", "ADDITEMS on a frozenset", additems_frozen, "DP43", "none"),
        Entry("items-finished-list", "a finished list grows through the memo", finished_list, "DP43", "lies"),
        Entry("items-finished-dict", "a finished dict grows through the memo", finished_dict, "DP43", "lies"),
        Entry("items-key-twice", "the key of the model twice", key_twice, "DP43", "lies"),
        Entry("items-equal-keys", "the keys 1 and True", equal_keys, "DP43", "lies"),
        Entry("items-odd", "a key without a value", odd, "DP41", "none"),
        Entry("items-object-key", "an estimator as a key", object_key, "DP43", "none"),
        Entry("items-list-key", "a list as a key", list_key, "DP43", "none"),
    ]  # fmt: skip


def entries() -> list[Entry]:
    """Every entry of this class."""
    return [*_on_what_takes_none(), *_shadows(), *_items()]
