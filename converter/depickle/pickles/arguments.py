# SPDX-License-Identifier: Apache-2.0
"""Argument rules: what each admitted callable may be given, and the inert value that its call stands for.

A rule takes the arguments as values and returns a value, or raises `ArgumentError`. Nothing is called: where the
real callable would build an array, a set or a date, the rule checks what it would have been built from and
describes the result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence, Sized
from typing import Protocol

from . import arrays
from .arrays import ArgumentError
from .graph import (
    Array,
    DictNode,
    Dtype,
    GlobalRef,
    ListNode,
    NumpyScalar,
    Raw,
    Record,
    SetNode,
    TupleNode,
    Value,
)
from .names import CANONICAL_MODULES, LANGUAGE_TYPES

__all__ = ["PARTIAL", "RULES_BY_NAME", "ArgumentRule", "Builder", "PartialError", "partial_keywords"]

#: The only partial that is admitted is the one of `_CHECK_ARRAY` with the keywords of HistGradientBoosting.
PARTIAL = "functools.partial"
_CHECK_ARRAY = "sklearn.utils.validation.check_array"
_FLAGS = ("ensure_all_finite", "force_all_finite")  # since scikit-learn 1.6, and before


class PartialError(ArgumentError):
    """Internal: a `functools.partial` that calls something else than HistGradientBoosting's check."""

    rule = "DP420"


class Builder(Protocol):
    """What a rule may ask of the interpreter."""

    def key(self, value: Raw) -> object:
        """`value` as a dict key or set member; refuses what is not simple."""

    def claim(self, size: int) -> None:
        """Account for an array of `size` bytes."""

    def given(self, items: Sized) -> None:
        """Remember that `items` must not grow from here on."""

    def charge(self, size: int) -> None:
        """Account for `size` bytes that a rule copies; refuses a stream that copies without end."""

    def admits_created(self, ref: GlobalRef) -> bool:
        """True where the class may be created; reports it otherwise. Unknown classes may be auxiliary."""

    def admits_data(self, ref: GlobalRef) -> bool:
        """True where the global may be mentioned."""

    def opened(self, kind: str) -> None:
        """Count a dtype, array or partial that a later BUILD must complete."""


ArgumentRule = Callable[[Builder, GlobalRef, Sequence[Raw], int], Raw]


def _none_or_int(value: Raw) -> bool:
    return value is None or type(value) is int


def _inert_args(args: Sequence[Raw]) -> tuple[Value, ...]:
    return tuple(bytes(arg) if isinstance(arg, memoryview) else arg for arg in args)


def _codecs_encode(builder: Builder, ref: GlobalRef, args: Sequence[Raw], offset: int) -> Raw:
    if len(args) != 2 or type(args[0]) is not str or args[1] not in ("latin1", "latin-1"):
        raise ArgumentError("only text and the encoding latin1 are admitted")
    builder.charge(len(args[0]))
    try:
        return args[0].encode("latin-1")
    except UnicodeEncodeError as error:
        raise ArgumentError("the text has characters outside latin1") from error


def _bytearray(builder: Builder, ref: GlobalRef, args: Sequence[Raw], offset: int) -> Raw:
    if not args:
        return b""
    if len(args) == 1 and isinstance(args[0], bytes | memoryview):
        return args[0]
    if len(args) == 2:
        return _codecs_encode(builder, ref, args, offset)
    raise ArgumentError("only bytes are admitted, never a size")


def _bytes(builder: Builder, ref: GlobalRef, args: Sequence[Raw], offset: int) -> Raw:
    if args:
        raise ArgumentError("only the empty call is admitted")
    return b""


def _set(builder: Builder, ref: GlobalRef, args: Sequence[Raw], offset: int) -> Raw:
    if len(args) > 1 or (args and type(args[0]) is not ListNode):
        raise ArgumentError("only one list is admitted")
    items = args[0].items if args and isinstance(args[0], ListNode) else []
    keys = {builder.key(item) for item in items}
    if len(keys) != len(items):
        raise ArgumentError("a member occurs twice")
    return SetNode(list(items), offset, frozen=ref.name == "frozenset")


def _complex(builder: Builder, ref: GlobalRef, args: Sequence[Raw], offset: int) -> Raw:
    if len(args) == 2:
        real, imaginary = args
        if isinstance(real, float) and isinstance(imaginary, float):
            return complex(real, imaginary)
    raise ArgumentError("only two floats are admitted")


def _slice(builder: Builder, ref: GlobalRef, args: Sequence[Raw], offset: int) -> Raw:
    if len(args) == 3 and all(_none_or_int(part) or type(part) is str for part in args):
        name = "range" if ref.name == "xrange" else ref.name
        return Record("builtins", name, "reduce", _inert_args(args), offset)
    raise ArgumentError("only three plain bounds are admitted")


def _pairs(builder: Builder, args: Sequence[Raw], offset: int, kind: str) -> DictNode:
    node = DictNode({}, offset, kind)
    if len(args) == 1 and isinstance(args[0], ListNode):
        for pair in args[0]:
            if not isinstance(pair, ListNode) or len(pair) != 2:
                raise ArgumentError("the list must hold pairs")
            key = builder.key(pair[0])
            if key in node.items:
                raise ArgumentError("a key occurs twice")
            node.items[key] = pair[1]
    elif len(args) == 1 and isinstance(args[0], DictNode):
        node.items.update(args[0].items)
    elif args:
        raise ArgumentError("only a list of pairs or a dict is admitted")
    return node


def _ordered_dict(builder: Builder, ref: GlobalRef, args: Sequence[Raw], offset: int) -> Raw:
    return _pairs(builder, args, offset, "OrderedDict")


def _counter(builder: Builder, ref: GlobalRef, args: Sequence[Raw], offset: int) -> Raw:
    return _pairs(builder, args, offset, "Counter")


def _defaultdict(builder: Builder, ref: GlobalRef, args: Sequence[Raw], offset: int) -> Raw:
    factory = args[0] if args else None
    node = DictNode({}, offset, "defaultdict")
    if isinstance(factory, GlobalRef) and (
        (factory.module, factory.name) in LANGUAGE_TYPES or factory.path == "collections.OrderedDict"
    ):
        node.factory = factory
    elif factory is not None:
        raise ArgumentError("it would keep a callable; only plain types are admitted")
    if len(args) > 1:
        raise ArgumentError("only the factory is admitted")
    return node


_DATE_BYTES = {"datetime": 10, "date": 4, "time": 6}


def _datetime(builder: Builder, ref: GlobalRef, args: Sequence[Raw], offset: int) -> Raw:
    values = [bytes(arg) if isinstance(arg, memoryview) else arg for arg in args]
    if ref.name == "timedelta":
        fits = len(values) == 3 and all(type(part) is int and abs(part) < 1 << 31 for part in values)
    elif ref.name == "timezone":
        fits = 1 <= len(values) <= 2 and _is_record(values[0], "datetime.timedelta")
        fits = fits and (len(values) == 1 or type(values[1]) is str)
    else:
        head = values[0] if values else None
        zoned = len(values) == 2 and ref.name != "date" and _is_record(values[1], "datetime.timezone")
        fits = (len(values) == 1 or zoned) and isinstance(head, bytes) and len(head) == _DATE_BYTES[ref.name]
        fits = fits and isinstance(head, bytes) and _date_in_range(ref.name, head)
    if not fits:
        raise ArgumentError("only the packed form that datetime itself writes is admitted")
    return Record("datetime", ref.name, "reduce", _inert_args(values), offset)


def _date_in_range(name: str, packed: bytes) -> bool:
    if name != "time":
        year, month, day = packed[0] << 8 | packed[1], packed[2] & 0x7F, packed[3]
        if not (1 <= year <= 9999 and 1 <= month <= 12 and 1 <= day <= 31):
            return False
        clock = packed[4:]
    else:
        clock = bytes([packed[0] & 0x7F]) + packed[1:]
    if not clock:
        return True
    micro = clock[3] << 16 | clock[4] << 8 | clock[5]
    return clock[0] < 24 and clock[1] < 60 and clock[2] < 60 and micro < 1_000_000


def _is_record(value: Raw, cls: str) -> bool:
    return isinstance(value, Record) and value.cls == cls


def _reconstructor(builder: Builder, ref: GlobalRef, args: Sequence[Raw], offset: int) -> Raw:
    if len(args) != 3 or not isinstance(args[0], GlobalRef) or not isinstance(args[1], GlobalRef):
        raise ArgumentError("only a class, its base and the value of the base are admitted")
    cls, base, value = args[0], args[1], args[2]
    if base.module not in ("builtins", "__builtin__"):
        raise ArgumentError(f"the base {base.path} is not a type of the language")
    kinds: dict[str, type] = {"dict": DictNode, "list": ListNode, "tuple": TupleNode}
    module = CANONICAL_MODULES.get(cls.module, cls.module)
    if base.name == "object" and value is None:
        builder.admits_created(cls)
        return Record(module, cls.name, "reconstructor", (), offset)
    if base.name in kinds and type(value) is kinds[base.name]:
        if builder.admits_created(cls) and cls.name == "_ImputerTriplet":
            _imputer_triplet(builder, cls, value.items if type(value) is TupleNode else (), offset)
        return Record(module, cls.name, "reconstructor", _inert_args([value]), offset)
    raise ArgumentError(f"the value is not a plain {base.name}")


def _newobj(builder: Builder, ref: GlobalRef, args: Sequence[Raw], offset: int) -> Raw:
    if len(args) != 1 or not isinstance(args[0], GlobalRef):
        raise ArgumentError("only a class is admitted")
    builder.admits_created(args[0])
    module = CANONICAL_MODULES.get(args[0].module, args[0].module)
    return Record(module, args[0].name, "newobj", (), offset)


def _dtype(builder: Builder, ref: GlobalRef, args: Sequence[Raw], offset: int) -> Raw:
    node = arrays.open_dtype(args, offset)
    builder.opened("dtype")
    return node


def _ndarray(builder: Builder, ref: GlobalRef, args: Sequence[Raw], offset: int) -> Raw:
    cls = args[0] if len(args) == 3 else None
    shape = args[1] if len(args) == 3 else None
    if (
        type(cls) is not GlobalRef
        or cls.name != "ndarray"
        or cls.module != "numpy"
        or type(shape) is not TupleNode
        or shape.items != [0]
        or args[2] not in (b"b", "b")
    ):
        raise ArgumentError("only numpy.ndarray with shape (0,) and type code b is admitted")
    builder.opened("array")
    return Array(arrays.UNBUILT, (), None, None, offset)


def _empty_array_arguments(args: Sequence[Raw], classes: tuple[str, ...]) -> None:
    shape = args[-2] if len(args) >= 3 else None
    if (
        len(args) != 2 + len(classes)
        or any(
            not isinstance(arg, GlobalRef) or arg.path != path
            for arg, path in zip(args, classes, strict=False)
        )
        or not isinstance(shape, TupleNode)
        or shape.items != [0]
        or args[-1] not in (b"b", "b")
    ):
        raise ArgumentError(f"only {', '.join(classes)} with shape (0,) and type code b is admitted")


def _scalar(builder: Builder, ref: GlobalRef, args: Sequence[Raw], offset: int) -> Raw:
    if len(args) != 2 or not isinstance(args[0], Dtype) or not isinstance(args[1], bytes | memoryview):
        raise ArgumentError("only a dtype and its bytes are admitted")
    dtype, data = args[0], bytes(args[1])
    builder.charge(len(data))
    if dtype.is_object or dtype.fields is not None or not dtype.descr or len(data) != dtype.itemsize:
        raise ArgumentError("the bytes are not one item of a plain dtype")
    arrays.check_elements(dtype, memoryview(data))
    return NumpyScalar(dtype, data, offset)


def _frombuffer(builder: Builder, ref: GlobalRef, args: Sequence[Raw], offset: int) -> Raw:
    if (
        len(args) != 4
        or not isinstance(args[0], bytes | memoryview)
        or not isinstance(args[1], Dtype)
        or args[3] not in ("C", "F")
    ):
        raise ArgumentError("only bytes, a dtype, a shape and the order C or F are admitted")
    array = Array(arrays.UNBUILT, (), None, None, offset)
    arrays.fill_array(builder, array, args[2], args[1], args[0], fortran=args[3] == "F")
    return array


def _masked_array(builder: Builder, ref: GlobalRef, args: Sequence[Raw], offset: int) -> Raw:
    cls = args[0] if args else None
    name = cls.path if isinstance(cls, GlobalRef) else ""
    known = name in ("numpy.ma.MaskedArray", "numpy.ma.core.MaskedArray")
    _empty_array_arguments(args, (name if known else "numpy.ma.MaskedArray", "numpy.ndarray"))
    return Record("numpy.ma.core", "MaskedArray", "reduce", (), offset)


_BIT_GENERATORS = frozenset({"MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"})
_RANDOM_MODULE = re.compile(r"numpy\.random\.(_mt19937|_pcg64|_philox|_sfc64|_pickle)\Z")


def _numpy_random(builder: Builder, ref: GlobalRef, args: Sequence[Raw], offset: int) -> Raw:
    for arg in args:
        if type(arg) is str:
            fits = arg in _BIT_GENERATORS
        elif isinstance(arg, GlobalRef):
            fits = _RANDOM_MODULE.match(arg.module) is not None and (
                arg.name in _BIT_GENERATORS or arg.name == "__bit_generator_ctor"
            )
            fits = fits and builder.admits_data(arg)
        else:
            fits = _is_record(arg, "numpy.random._pickle.__bit_generator_ctor")
        if not fits:
            raise ArgumentError("only numpy's own bit generators are admitted")
    if len(args) > 2:
        raise ArgumentError("only a bit generator and its constructor are admitted")
    return Record(ref.module, ref.name, "reduce", _inert_args(args), offset)


def _pyx_unpickle(builder: Builder, ref: GlobalRef, args: Sequence[Raw], offset: int) -> Raw:
    cls = args[0] if args else None
    if (
        len(args) != 3
        or not isinstance(cls, GlobalRef)
        or cls.module != ref.module
        or not ref.name.endswith("_" + cls.name)
        or type(args[1]) is not int
        or not (args[2] is None or isinstance(args[2], TupleNode))
    ):
        raise ArgumentError("only the function's own class, a checksum and a tuple are admitted")
    return Record(ref.module, ref.name, "reduce", _inert_args(args), offset)


def _inert(builder: Builder, ref: GlobalRef, args: Sequence[Raw], offset: int) -> Raw:
    # pandas' _new_Index and its like create whatever class they are given, with keywords of the file's choice.
    root = ref.module.partition(".")[0]
    for arg in args:
        if type(arg) is GlobalRef and arg.module.partition(".")[0] != root:
            raise ArgumentError(f"{arg.path} is not of its own library")
    module = CANONICAL_MODULES.get(ref.module, ref.module)
    return Record(module, ref.name, "reduce", _inert_args(args), offset)


def _check_array_partial(builder: Builder, ref: GlobalRef, args: Sequence[Raw], offset: int) -> Raw:
    if len(args) != 1 or not isinstance(args[0], GlobalRef) or args[0].path != _CHECK_ARRAY:
        raise PartialError(f"only {_CHECK_ARRAY} is admitted")
    builder.opened("partial")
    # A reference of its own: only this one is no mention, wherever else the stream's own may stand.
    return Record(ref.module, ref.name, "reduce", (GlobalRef(args[0].module, args[0].name, offset),), offset)


def partial_keywords(builder: Builder, state: Raw) -> DictNode:
    """The keywords in the state ``(check_array, (), keywords, None)`` of an admitted partial.

    Raises:
        PartialError: unless they are what HistGradientBoosting gives: ``dtype=[numpy.float64]`` and no check of
            finiteness.
    """
    if not isinstance(state, TupleNode) or len(state) != 4:
        raise PartialError("its state is not the tuple that functools writes")
    function, args, keywords, namespace = state.items
    if not isinstance(function, GlobalRef) or function.path != _CHECK_ARRAY:
        raise PartialError(f"its state names another function than {_CHECK_ARRAY}")
    if type(args) is not TupleNode or args.items:
        raise PartialError("it has arguments of its own")
    if namespace is not None and (
        not isinstance(namespace, DictNode) or namespace.kind != "dict" or namespace.items
    ):
        raise PartialError("it has attributes of its own")
    held = keywords.items if isinstance(keywords, DictNode) and keywords.kind == "dict" else {}
    dtypes = held.get("dtype")
    flag = next((name for name in _FLAGS if name in held), "")
    if (
        not isinstance(keywords, DictNode)
        or len(held) != 2
        or held.get(flag) is not False
        or type(dtypes) is not ListNode
        or len(dtypes) != 1
        or not isinstance(dtypes[0], GlobalRef)
        or dtypes[0].path != "numpy.float64"
    ):
        raise PartialError("only the keywords dtype=[numpy.float64] and ensure_all_finite=False are admitted")
    builder.given(keywords.items)
    builder.given(dtypes.items)
    if namespace is not None:
        builder.given(namespace.items)
    return keywords


def _imputer_triplet(builder: Builder, ref: GlobalRef, args: Sequence[Raw], offset: int) -> Raw:
    feature, neighbours, estimator = args if len(args) == 3 else (None, None, None)
    if (
        not (isinstance(feature, NumpyScalar) and feature.dtype.descr[1] == "i")
        or not (
            isinstance(neighbours, Array)
            and neighbours.dtype.descr[1:2] == "i"
            and len(neighbours.shape) == 1
        )
        or not isinstance(estimator, Record)
    ):
        raise ArgumentError("only a feature, its neighbours and an estimator are admitted")
    return None  # it is created as an object; only its arguments are judged here


def _never(builder: Builder, ref: GlobalRef, args: Sequence[Raw], offset: int) -> Raw:
    raise ArgumentError("it is created as an object, never called")


#: Every rule by the name that policy files use. ``inert`` is the general one: any inert values, a record results.
RULES_BY_NAME: dict[str, ArgumentRule] = {
    "bytearray": _bytearray,
    "bytes": _bytes,
    "check_array_partial": _check_array_partial,
    "codecs_encode": _codecs_encode,
    "complex": _complex,
    "counter": _counter,
    "datetime": _datetime,
    "defaultdict": _defaultdict,
    "dtype": _dtype,
    "frombuffer": _frombuffer,
    "frozenset": _set,
    "imputer_triplet": _imputer_triplet,
    "inert": _inert,
    "joblib_array": _never,
    "mapping": _never,
    "masked_array": _masked_array,
    "ndarray": _ndarray,
    "newobj": _newobj,
    "numpy_random": _numpy_random,
    "ordered_dict": _ordered_dict,
    "pyx_unpickle": _pyx_unpickle,
    "reconstructor": _reconstructor,
    "scalar": _scalar,
    "sequence": _never,
    "set": _set,
    "slice": _slice,
    "with_args": _inert,
}
