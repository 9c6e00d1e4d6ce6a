# SPDX-License-Identifier: Apache-2.0
"""A node's attributes by name, each of the type its operator declares; and tensors as checked numpy arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ._onnx_wire import Attribute, Tensor
from .errors import OnnxRefusedError

__all__ = ["MAX_RANK", "MAX_TENSOR_ELEMENTS", "Attributes", "read_tensor"]

MAX_RANK: Final = 6
MAX_TENSOR_ELEMENTS: Final = 1 << 24
"""Elements of one stored tensor; larger ones do not fit the file cap as doubles anyway."""
MAX_STRINGS: Final = 65_536
MAX_STRING_BYTES: Final = 1_024
"""Length of one class name or category."""

# ONNX TensorProto.DataType -> numpy, the dtypes that converted models use.
DTYPES: Final[dict[int, np.dtype[Any]]] = {
    1: np.dtype("<f4"),
    2: np.dtype("u1"),
    6: np.dtype("<i4"),
    7: np.dtype("<i8"),
    9: np.dtype("?"),
    11: np.dtype("<f8"),
}
STRING_TYPE: Final = 8
_TYPED_FIELD: Final = {
    1: "float_data",
    2: "int32_data",
    6: "int32_data",
    7: "int64_data",
    9: "int32_data",
    11: "double_data",
}

# AttributeProto.AttributeType -> (letter of the operator tables, field)
_KINDS: Final = {
    1: ("f", "f"),
    2: ("i", "i"),
    3: ("s", "s"),
    4: ("t", "t"),
    6: ("F", "floats"),
    7: ("I", "ints"),
    8: ("S", "strings"),
}
_EMPTY_INTS: Final[npt.NDArray[np.int64]] = np.empty(0, dtype=np.int64)
_EMPTY_FLOATS: Final[npt.NDArray[np.float32]] = np.empty(0, dtype=np.float32)


def _tensor_error(code: str, found: str, expected: str, where: str) -> OnnxRefusedError:
    return OnnxRefusedError(
        "ONNX tensor is not admitted", code=code, found=found, expected=expected, where=where
    )


def check_strings(strings: tuple[bytes, ...], where: str) -> None:
    """Cap the number and the length of strings, and require printable UTF-8.

    Raises:
        OnnxRefusedError: DP326, DP309.
    """
    if len(strings) > MAX_STRINGS:
        raise _tensor_error("DP326", f"{len(strings)} strings", f"at most {MAX_STRINGS}", where)
    for text in strings:
        if len(text) > MAX_STRING_BYTES:
            raise _tensor_error(
                "DP326", f"a string of {len(text)} bytes", f"at most {MAX_STRING_BYTES}", where
            )
        try:
            printable = text.decode("utf-8").isprintable()
        except UnicodeDecodeError:
            printable = False
        if not printable:
            raise _tensor_error("DP309", "a string that is not printable UTF-8", "printable UTF-8", where)


def read_tensor(tensor: Tensor, where: str) -> npt.NDArray[Any] | tuple[int, ...]:
    """Check a stored tensor.

    Returns:
        Its values as a view, or its dimensions alone where it holds strings.

    Raises:
        OnnxRefusedError: DP320 external data, DP322 value fields, DP323 size, DP324 dtype, DP325 dimensions,
            DP326 caps.
    """
    if tensor.external:
        raise _tensor_error("DP320", "data outside the file", "data in the file", where)
    if len(tensor.dims) > MAX_RANK or any(d < 0 for d in tensor.dims):
        raise _tensor_error("DP325", f"dimensions {tensor.dims}", f"at most {MAX_RANK}, none negative", where)
    elements = math.prod(tensor.dims)
    if elements > MAX_TENSOR_ELEMENTS:
        raise _tensor_error("DP326", f"{elements} elements", f"at most {MAX_TENSOR_ELEMENTS}", where)
    if tensor.data_type == STRING_TYPE:
        if tensor.value_fields != (("string_data",) if elements else ()):
            raise _tensor_error("DP322", f"values in {tensor.value_fields}", "string_data", where)
        strings = tensor.strings or ()
        if len(strings) != elements:
            raise _tensor_error("DP323", f"{len(strings)} strings", f"{elements}", where)
        check_strings(strings, where)
        return tensor.dims
    dtype = DTYPES.get(tensor.data_type)
    if dtype is None:
        raise _tensor_error("DP324", f"element type {tensor.data_type}", "a listed one", where)
    if not tensor.value_fields and elements == 0:
        return np.empty(tensor.dims, dtype=dtype)
    if len(tensor.value_fields) != 1 or tensor.value_fields[0] not in (
        "raw_data",
        _TYPED_FIELD[tensor.data_type],
    ):
        raise _tensor_error(
            "DP322",
            f"values in {', '.join(tensor.value_fields) or 'no field'}",
            "one field of its type",
            where,
        )
    if tensor.raw is not None:
        if len(tensor.raw) != elements * dtype.itemsize:
            expected = f"{elements * dtype.itemsize} bytes"
            raise _tensor_error("DP323", f"{len(tensor.raw)} bytes", expected, where)
        if dtype.kind == "b" and elements and np.frombuffer(tensor.raw, dtype=np.uint8).max() > 1:
            raise _tensor_error("DP324", "a boolean other than 0 and 1", "0 or 1", where)
        return np.frombuffer(tensor.raw, dtype=dtype).reshape(tensor.dims)
    numbers = tensor.numbers
    if numbers is None or numbers.size != elements:
        raise _tensor_error("DP323", f"{0 if numbers is None else numbers.size} values", f"{elements}", where)
    if (
        dtype.kind in "bu"
        and elements
        and (numbers.min() < 0 or numbers.max() > (1 if dtype.kind == "b" else 255))
    ):
        raise _tensor_error("DP324", "a value outside its type", "values of the type", where)
    return numbers.astype(dtype, copy=False).reshape(tensor.dims)


class Attributes:
    """The attributes of one node, checked against its operator's declaration."""

    def __init__(self, attributes: tuple[Attribute, ...], declared: Mapping[str, str], where: str) -> None:
        """Check names, types and tensors.

        Args:
            attributes: as read.
            declared: name to type letter (f i s t, capitals for lists).
            where: for messages.

        Raises:
            OnnxRefusedError: DP336 for an unknown, repeated or mistyped one; what `read_tensor` raises.
        """
        self._where = where
        self._values: dict[str, Any] = {}
        for attribute in attributes:
            letter, field = _KINDS.get(attribute.kind, ("", ""))
            declared_letter = declared.get(attribute.name)
            spot = f"{where}.{attribute.name}"
            if declared_letter is None:
                raise self._error(f"attribute {attribute.name!r:.60}", "attributes of this operator", spot)
            if attribute.name in self._values:
                raise self._error("an attribute twice", "once", spot)
            if letter != declared_letter or attribute.field not in (field, "" if letter.isupper() else field):
                raise self._error(
                    f"type {attribute.kind} with values in {attribute.field or 'no field'}",
                    declared_letter,
                    spot,
                )
            value = attribute.value
            if attribute.field == "":
                value = () if letter == "S" else _EMPTY_FLOATS if letter == "F" else _EMPTY_INTS
            elif isinstance(value, Tensor):
                self._values[attribute.name] = read_tensor(value, spot)
                continue
            elif letter == "s" and isinstance(value, bytes):
                check_strings((value,), spot)
            elif letter == "S" and isinstance(value, tuple):
                check_strings(value, spot)
            self._values[attribute.name] = value

    def _error(self, found: str, expected: str, where: str) -> OnnxRefusedError:
        return OnnxRefusedError(
            "ONNX attribute is not admitted", code="DP336", found=found, expected=expected, where=where
        )

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def integer(self, name: str, default: int) -> int:
        """An integer, or the operator's default."""
        return int(self._values.get(name, default))

    def real(self, name: str, default: float) -> float:
        """A float, or the operator's default."""
        return float(self._values.get(name, default))

    def text(self, name: str, default: str) -> str:
        """A string, or the operator's default."""
        value = self._values.get(name)
        return default if value is None else str(value, "utf-8")

    def ints(self, name: str) -> npt.NDArray[np.int64]:
        """A list of integers, empty where absent."""
        value: npt.NDArray[np.int64] = self._values.get(name, _EMPTY_INTS)
        return value

    def floats(self, name: str) -> npt.NDArray[np.float32]:
        """A list of floats, empty where absent."""
        value: npt.NDArray[np.float32] = self._values.get(name, _EMPTY_FLOATS)
        return value

    def strings(self, name: str) -> tuple[bytes, ...]:
        """A list of strings, empty where absent."""
        value = self._values.get(name, ())
        if isinstance(value, tuple):
            return value
        raise self._error("node modes", "strings", f"{self._where}.{name}")

    def strings_or_modes(self, name: str) -> tuple[bytes, ...] | npt.NDArray[np.uint8]:
        """A list of strings; long lists of node modes come as their numbers."""
        value: tuple[bytes, ...] | npt.NDArray[np.uint8] = self._values.get(name, ())
        return value

    def tensor(self, name: str) -> npt.NDArray[Any]:
        """A vector given as a tensor, empty where absent.

        Raises:
            OnnxRefusedError: DP325 if it is not a vector, DP324 if it holds strings.
        """
        value = self._values.get(name, _EMPTY_FLOATS)
        if not isinstance(value, np.ndarray):
            raise _tensor_error("DP324", "strings", "numbers", f"{self._where}.{name}")
        if value.ndim != 1:
            raise _tensor_error("DP325", f"dimensions {value.shape}", "a vector", f"{self._where}.{name}")
        return value

    def constant(self, name: str) -> npt.NDArray[Any] | tuple[int, ...]:
        """A tensor of any rank: its values, or the dimensions of a tensor of strings."""
        value: npt.NDArray[Any] | tuple[int, ...] = self._values[name]
        return value

    def floats_or_tensor(self, name: str) -> npt.NDArray[Any]:
        """A list that older operators take as floats or, under another name, as a tensor.

        Raises:
            OnnxRefusedError: DP336 if both are given.
        """
        other = f"{name}_as_tensor"
        if other not in self._values:
            return self.floats(name)
        if name in self._values:
            raise self._error(f"{name} and {other}", "one of them", self._where)
        return self.tensor(other)
