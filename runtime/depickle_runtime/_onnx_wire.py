# SPDX-License-Identifier: Apache-2.0
"""Reads an ONNX model's protobuf bytes as inert data, and accepts the canonical encoding only.

Guarantees, for `read_model`:

* Known fields only; every singular field at most once; functions, training information, sparse initializers
  and the other fields that no model of ours has are refused by name.
* Canonical: fields in ascending order, shortest varints, no empty packed field. A canonical encoding is unique,
  so re-serialising what was read gives the same bytes, and no other reader can see another model in them.
* Bounded: message nesting is fixed by the functions below (there is no recursion), and the number of fields read
  one at a time is capped; long number lists are decoded by numpy in one step.
* Nothing is executed, and no protobuf or onnx package is involved. Only `OnnxRefusedError` is raised.

Field numbers are those of onnx.proto3 (ONNX IR 10); wire format: protobuf encoding guide. One file although it is
long: it is read beside that schema, message by message.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from ._onnx_lists import decode_modes, decode_tagged_floats, decode_tagged_ints, decode_varints
from .errors import OnnxRefusedError

__all__ = ["Attribute", "Graph", "Model", "Node", "Tensor", "ValueInfo", "read_model"]

MAX_FIELDS: Final = 400_000
"""Fields read one at a time; the largest model of ours has a few thousand. Bounds the time to about 0.5 s."""

MESSAGE_COST: Final = 12
"""What opening one more message counts for, in fields: an empty one costs about that much time."""

MAX_TEXT: Final = 65_536
"""Bytes in one name, documentation string or metadata value."""

_VARINT, _BYTES, _FIXED32 = 0, 2, 5
_TYPE_TAG: Final = b"\xa0\x01"
_WHOLE_LIST_MIN: Final = 64
"""Bytes from which decoding a list in one step pays."""

_Bytes = npt.NDArray[np.uint8]


class Tensor(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A TensorProto: which value fields were present, and views of them."""

    name: str
    dims: tuple[int, ...]
    data_type: int
    raw: memoryview | None
    numbers: npt.NDArray[Any] | None
    """Values of the one typed field that was present (float, int32, int64, double or uint64)."""
    strings: tuple[bytes, ...] | None
    value_fields: tuple[str, ...]
    """Names of the value fields present; a well-formed tensor has exactly one, or none if it is empty."""
    external: bool


class Attribute(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """An AttributeProto; `kind` is its declared type, `value` of the one field that was present."""

    name: str
    kind: int
    field: str
    value: float | int | bytes | Tensor | npt.NDArray[Any] | tuple[bytes, ...]


class Node(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A NodeProto."""

    name: str
    op_type: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: tuple[Attribute, ...]


class ValueInfo(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A ValueInfoProto of tensor type: dimensions are a size, a symbol, or None where unknown."""

    name: str
    elem_type: int
    dims: tuple[int | str | None, ...] | None


class Graph(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A GraphProto."""

    name: str
    nodes: tuple[Node, ...]
    initializers: tuple[Tensor, ...]
    inputs: tuple[ValueInfo, ...]
    outputs: tuple[ValueInfo, ...]
    value_info: tuple[ValueInfo, ...]


class Model(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A ModelProto."""

    ir_version: int
    producer_name: str
    producer_version: str
    opsets: tuple[tuple[str, int], ...]
    metadata: tuple[tuple[str, str], ...]
    graph: Graph


class _Field(msgspec.Struct, frozen=True):
    name: str
    wire: int
    repeated: bool = False
    refused: str = ""
    """Code under which the mere presence of this field refuses the file."""


def _table(rows: dict[int, tuple[Any, ...]]) -> dict[int, _Field]:
    return {number: _Field(*row) for number, row in rows.items()}


_MODEL = _table(
    {
        1: ("ir_version", _VARINT),
        2: ("producer_name", _BYTES),
        3: ("producer_version", _BYTES),
        4: ("domain", _BYTES),
        5: ("model_version", _VARINT),
        6: ("doc_string", _BYTES),
        7: ("graph", _BYTES),
        8: ("opset_import", _BYTES, True),
        14: ("metadata_props", _BYTES, True),
        20: ("training_info", _BYTES, True, "DP306"),
        25: ("functions", _BYTES, True, "DP305"),
        26: ("configuration", _BYTES, True, "DP307"),
    }
)
_GRAPH = _table(
    {
        1: ("node", _BYTES, True),
        2: ("name", _BYTES),
        5: ("initializer", _BYTES, True),
        10: ("doc_string", _BYTES),
        11: ("input", _BYTES, True),
        12: ("output", _BYTES, True),
        13: ("value_info", _BYTES, True),
        14: ("quantization_annotation", _BYTES, True, "DP307"),
        15: ("sparse_initializer", _BYTES, True, "DP321"),
        16: ("metadata_props", _BYTES, True, "DP307"),
    }
)
_NODE = _table(
    {
        1: ("input", _BYTES, True),
        2: ("output", _BYTES, True),
        3: ("name", _BYTES),
        4: ("op_type", _BYTES),
        5: ("attribute", _BYTES, True),
        6: ("doc_string", _BYTES),
        7: ("domain", _BYTES),
        8: ("overload", _BYTES, False, "DP305"),
        9: ("metadata_props", _BYTES, True, "DP307"),
        10: ("device_configurations", _BYTES, True, "DP307"),
    }
)
_ATTRIBUTE = _table(
    {
        1: ("name", _BYTES),
        2: ("f", _FIXED32),
        3: ("i", _VARINT),
        4: ("s", _BYTES),
        5: ("t", _BYTES),
        6: ("g", _BYTES, False, "DP331"),
        7: ("floats", _FIXED32, True),
        8: ("ints", _VARINT, True),
        9: ("strings", _BYTES, True),
        10: ("tensors", _BYTES, True, "DP307"),
        11: ("graphs", _BYTES, True, "DP331"),
        13: ("doc_string", _BYTES),
        14: ("tp", _BYTES, False, "DP307"),
        15: ("type_protos", _BYTES, True, "DP307"),
        20: ("type", _VARINT),
        21: ("ref_attr_name", _BYTES, False, "DP305"),
        22: ("sparse_tensor", _BYTES, False, "DP321"),
        23: ("sparse_tensors", _BYTES, True, "DP321"),
    }
)
_TENSOR = _table(
    {
        1: ("dims", _VARINT, True),
        2: ("data_type", _VARINT),
        3: ("segment", _BYTES, False, "DP307"),
        4: ("float_data", _BYTES),
        5: ("int32_data", _BYTES),
        6: ("string_data", _BYTES, True),
        7: ("int64_data", _BYTES),
        8: ("name", _BYTES),
        9: ("raw_data", _BYTES),
        10: ("double_data", _BYTES),
        11: ("uint64_data", _BYTES),
        12: ("doc_string", _BYTES),
        13: ("external_data", _BYTES, True, "DP320"),
        14: ("data_location", _VARINT),
        16: ("metadata_props", _BYTES, True, "DP307"),
    }
)
_VALUE_INFO = _table(
    {
        1: ("name", _BYTES),
        2: ("type", _BYTES),
        3: ("doc_string", _BYTES),
        4: ("metadata_props", _BYTES, True, "DP307"),
    }
)
_TYPE = _table(
    {
        1: ("tensor_type", _BYTES),
        4: ("sequence_type", _BYTES, False, "DP337"),
        5: ("map_type", _BYTES, False, "DP337"),
        6: ("denotation", _BYTES),
        7: ("opaque_type", _BYTES, False, "DP337"),
        8: ("sparse_tensor_type", _BYTES, False, "DP337"),
        9: ("optional_type", _BYTES, False, "DP337"),
    }
)
_TENSOR_TYPE = _table({1: ("elem_type", _VARINT), 2: ("shape", _BYTES)})
_SHAPE = _table({1: ("dim", _BYTES, True)})
_DIM = _table({1: ("dim_value", _VARINT), 2: ("dim_param", _BYTES), 3: ("denotation", _BYTES)})
_OPSET = _table({1: ("domain", _BYTES), 2: ("version", _VARINT)})
_ENTRY = _table({1: ("key", _BYTES), 2: ("value", _BYTES)})

_REFUSED_MEANING: Final = {
    "DP305": "model-local functions are not allowed",
    "DP306": "training information is not allowed",
    "DP307": "a field that no converted model has",
    "DP320": "tensors may not point outside the file",
    "DP321": "sparse tensors are not allowed",
    "DP331": "subgraphs are not allowed",
    "DP337": "graph inputs and outputs are dense tensors only",
}


def malformed(
    found: str, where: str, *, code: str = "DP302", expected: str = "canonical protobuf"
) -> OnnxRefusedError:
    """The refusal of bytes that are not a canonical encoding."""
    return OnnxRefusedError(
        "ONNX file is not a well-formed model", code=code, found=found, expected=expected, where=where
    )


class _Reader:
    """One pass over one file; holds the bytes and the field budget."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._view = memoryview(data)
        self._array: _Bytes = np.frombuffer(data, dtype=np.uint8)
        self._budget = MAX_FIELDS
        self._tag_at = 0
        self._skip_to = 0

    def _varint(self, at: int, end: int, where: str) -> tuple[int, int]:
        """The shortest-form unsigned varint at `at`, and the offset after it."""
        data = self._data
        if at < end and data[at] < 0x80:
            return data[at], at + 1
        value = shift = 0
        while at < end and shift < 70:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if byte == 0 or value >> 64:
                    raise malformed(f"an overlong number at offset {at}", where)
                return value, at
            shift += 7
        raise malformed(f"a number cut short at offset {at}", where)

    def _fields(
        self, start: int, end: int, table: dict[int, _Field], where: str
    ) -> Iterator[tuple[str, int, int]]:
        """Yield (name, a, b): the payload's bounds, or (name, value, 0) for numbers.

        A consumer that has read further by itself leaves the offset to go on from in `_skip_to`.
        """
        at, last = start, 0
        while at < end:
            self._budget -= 1
            if self._budget < 0:
                raise malformed(
                    f"more than {MAX_FIELDS} fields", where, code="DP308", expected=f"at most {MAX_FIELDS}"
                )
            self._tag_at = at
            key, at = self._varint(at, end, where)
            number, wire = key >> 3, key & 7
            field = table.get(number)
            if field is None:
                raise malformed(f"unknown field {number}", where, code="DP303", expected="known fields only")
            if field.refused:
                raise malformed(
                    f"field {field.name}", where, code=field.refused, expected=_REFUSED_MEANING[field.refused]
                )
            if wire != field.wire:
                raise malformed(f"wire type {wire} for field {field.name}", where)
            if number < last:
                raise malformed(f"field {field.name} out of order", where)
            if number == last and not field.repeated:
                raise malformed(f"field {field.name} twice", where, code="DP304", expected="it once")
            last = number
            if wire == _VARINT:
                value, at = self._varint(at, end, where)
                yield field.name, value, 0
            else:
                size = 4
                if wire == _BYTES:
                    size, at = self._varint(at, end, where)
                if size > end - at:
                    raise malformed(f"field {field.name} longer than its message", where)
                yield field.name, at, at + size
                at += size
            if self._skip_to:
                at, self._skip_to = self._skip_to, 0

    def _text(self, start: int, end: int, where: str) -> str:
        if end - start > MAX_TEXT:
            raise malformed(
                f"a text of {end - start} bytes", where, code="DP309", expected=f"at most {MAX_TEXT}"
            )
        try:
            text = self._data[start:end].decode("utf-8")
        except UnicodeDecodeError:
            raise malformed(
                "text that is not UTF-8", where, code="DP309", expected="printable UTF-8"
            ) from None
        if not text.isprintable() and not all(c.isprintable() or c in "\n\t" for c in text):
            raise malformed("control characters", where, code="DP309", expected="printable UTF-8")
        return text

    def model(self) -> Model:
        ir_version = 0
        producer_name = producer_version = ""
        opsets: list[tuple[str, int]] = []
        metadata: list[tuple[str, str]] = []
        graph: Graph | None = None
        for name, a, b in self._fields(0, len(self._data), _MODEL, "model"):
            if name == "ir_version":
                ir_version = a
            elif name == "producer_name":
                producer_name = self._text(a, b, "model.producer_name")
            elif name == "producer_version":
                producer_version = self._text(a, b, "model.producer_version")
            elif name in ("domain", "doc_string"):
                self._text(a, b, f"model.{name}")
            elif name == "graph":
                graph = self._graph(a, b)
            elif name == "opset_import":
                opsets.append(self._opset(a, b))
            elif name == "metadata_props":
                metadata.append(self._entry(a, b))
        if graph is None:
            raise malformed("no graph", "model")
        return Model(
            ir_version=ir_version,
            producer_name=producer_name,
            producer_version=producer_version,
            opsets=tuple(opsets),
            metadata=tuple(metadata),
            graph=graph,
        )

    def _opset(self, start: int, end: int) -> tuple[str, int]:
        domain, version = "", 0
        for name, a, b in self._fields(start, end, _OPSET, "model.opset_import"):
            if name == "domain":
                domain = self._text(a, b, "model.opset_import")
            else:
                version = a
        return domain, version

    def _entry(self, start: int, end: int) -> tuple[str, str]:
        key = value = ""
        for name, a, b in self._fields(start, end, _ENTRY, "model.metadata_props"):
            if name == "key":
                key = self._text(a, b, "model.metadata_props")
            else:
                value = self._text(a, b, "model.metadata_props")
        return key, value

    def _graph(self, start: int, end: int) -> Graph:
        graph_name = ""
        nodes: list[Node] = []
        initializers: list[Tensor] = []
        values: dict[str, list[ValueInfo]] = {"input": [], "output": [], "value_info": []}
        for name, a, b in self._fields(start, end, _GRAPH, "graph"):
            self._budget -= MESSAGE_COST
            if name == "node":
                nodes.append(self._node(a, b, f"graph.node[{len(nodes)}]"))
            elif name == "initializer":
                initializers.append(self._tensor(a, b, f"graph.initializer[{len(initializers)}]"))
            elif name in values:
                values[name].append(self._value_info(a, b, f"graph.{name}[{len(values[name])}]"))
            elif name == "name":
                graph_name = self._text(a, b, "graph.name")
            else:
                self._text(a, b, f"graph.{name}")
        return Graph(
            name=graph_name,
            nodes=tuple(nodes),
            initializers=tuple(initializers),
            inputs=tuple(values["input"]),
            outputs=tuple(values["output"]),
            value_info=tuple(values["value_info"]),
        )

    def _node(self, start: int, end: int, where: str) -> Node:
        texts = {"name": "", "op_type": "", "domain": "", "doc_string": ""}
        names: dict[str, list[str]] = {"input": [], "output": []}
        attributes: list[Attribute] = []
        for name, a, b in self._fields(start, end, _NODE, where):
            if name == "attribute":
                self._budget -= MESSAGE_COST
                attributes.append(self._attribute(a, b, where))
            elif name in names:
                names[name].append(self._text(a, b, where))
            else:
                texts[name] = self._text(a, b, where)
        return Node(
            name=texts["name"],
            op_type=texts["op_type"],
            domain=texts["domain"],
            inputs=tuple(names["input"]),
            outputs=tuple(names["output"]),
            attributes=tuple(attributes),
        )

    def _attribute(self, start: int, end: int, where: str) -> Attribute:
        attribute_name, kind, field = "", 0, ""
        single: float | int | bytes | Tensor = 0
        listed: list[Any] = []
        whole: npt.NDArray[Any] | None = None
        for name, a, b in self._fields(start, end, _ATTRIBUTE, where):
            if name == "name":
                attribute_name = self._text(a, b, where)
                where = f"{where}.{attribute_name}"
                continue
            if name == "doc_string":
                self._text(a, b, where)
                continue
            if name == "type":
                kind = a
                continue
            if field not in ("", name) or whole is not None:
                found = f"values in {field} and {name}"
                raise malformed(found, where, code="DP336", expected="one value field")
            if name == "i":
                single = _signed(a)
            elif name == "f":
                single = float(self._array[a:b].view("<f4")[0])
            elif name == "s":
                single = self._data[a:b]
            elif name == "t":
                single = self._tensor(a, b, where)
            else:
                whole = self._whole_list(name, end) if not field else None
                if whole is None:
                    listed.append(_signed(a) if name == "ints" else self._data[a:b])
            field = name
        if whole is not None:
            return Attribute(name=attribute_name, kind=kind, field=field, value=whole)
        if field == "strings":
            return Attribute(name=attribute_name, kind=kind, field=field, value=tuple(listed))
        if field == "ints":
            return Attribute(
                name=attribute_name, kind=kind, field=field, value=np.array(listed, dtype=np.int64)
            )
        if field == "floats":
            floats = np.frombuffer(b"".join(listed), dtype="<f4")
            return Attribute(name=attribute_name, kind=kind, field=field, value=floats)
        return Attribute(name=attribute_name, kind=kind, field=field, value=single)

    def _whole_list(self, name: str, end: int) -> npt.NDArray[Any] | None:
        """Decode a list of an attribute from its first tag to the attribute's end in one step.

        Writers put the two-byte-tagged `type` after the list and nothing else, so the list ends three bytes
        before the attribute does. Where that guess does not parse, the caller reads element by element.
        """
        start, stop = self._tag_at, end - 3
        if stop - start < _WHOLE_LIST_MIN or self._data[stop : stop + 2] != _TYPE_TAG:
            return None
        values: npt.NDArray[Any] | None
        if name == "ints":
            values = decode_tagged_ints(self._array[start:stop], 0x40)
        elif name == "floats":
            values = decode_tagged_floats(self._array[start:stop], 0x3D)
        else:
            values = decode_modes(self._data[start:stop])
        if values is not None:
            self._skip_to = stop
        return values

    def _tensor(self, start: int, end: int, where: str) -> Tensor:
        tensor_name, data_type, external = "", 0, False
        dims: list[int] = []
        strings: list[bytes] = []
        raw: memoryview | None = None
        numbers: npt.NDArray[Any] | None = None
        present: list[str] = []
        for name, a, b in self._fields(start, end, _TENSOR, where):
            if name == "dims":
                dims.append(_signed(a))
            elif name == "data_type":
                data_type = a
            elif name == "data_location":
                external = external or a != 0
            elif name == "name":
                tensor_name = self._text(a, b, where)
                where = f"{where} {tensor_name!r}"
            elif name == "doc_string":
                self._text(a, b, where)
            elif name == "raw_data":
                raw = self._view[a:b]
                present.append(name)
            elif name == "string_data":
                strings.append(self._data[a:b])
                if len(strings) == 1:
                    present.append(name)
            else:
                numbers = self._packed(name, a, b, where)
                present.append(name)
        return Tensor(
            name=tensor_name,
            dims=tuple(dims),
            data_type=data_type,
            raw=raw,
            numbers=numbers,
            strings=tuple(strings) if strings else None,
            value_fields=tuple(present),
            external=external,
        )

    def _packed(self, name: str, start: int, end: int, where: str) -> npt.NDArray[Any]:
        part = self._array[start:end]
        if part.size == 0:
            raise malformed(f"an empty packed {name}", where)
        if name in ("float_data", "double_data"):
            dtype = np.dtype("<f4" if name == "float_data" else "<f8")
            if part.size % dtype.itemsize:
                raise malformed(f"{part.size} bytes of {name}", where)
            return np.frombuffer(self._data, dtype=dtype, count=part.size // dtype.itemsize, offset=start)
        values = decode_varints(part)
        if values is None:
            raise malformed(f"a number in {name} that is not in shortest form", where)
        if name == "uint64_data":
            return values
        signed = values.view(np.int64)
        if name == "int32_data" and signed.size and (signed.min() < -(1 << 31) or signed.max() >= 1 << 31):
            raise malformed("a 64-bit number in int32_data", where)
        return signed

    def _value_info(self, start: int, end: int, where: str) -> ValueInfo:
        value_name, elem_type = "", 0
        dims: tuple[int | str | None, ...] | None = None
        for name, a, b in self._fields(start, end, _VALUE_INFO, where):
            if name == "name":
                value_name = self._text(a, b, where)
            elif name == "doc_string":
                self._text(a, b, where)
            else:
                elem_type, dims = self._type(a, b, where)
        return ValueInfo(name=value_name, elem_type=elem_type, dims=dims)

    def _type(self, start: int, end: int, where: str) -> tuple[int, tuple[int | str | None, ...] | None]:
        elem_type = 0
        dims: tuple[int | str | None, ...] | None = None
        for name, a, b in self._fields(start, end, _TYPE, where):
            if name == "denotation":
                self._text(a, b, where)
                continue
            for inner, c, d in self._fields(a, b, _TENSOR_TYPE, where):
                if inner == "elem_type":
                    elem_type = c
                else:
                    dims = tuple(self._dim(e, f, where) for _, e, f in self._fields(c, d, _SHAPE, where))
        return elem_type, dims

    def _dim(self, start: int, end: int, where: str) -> int | str | None:
        dim: int | str | None = None
        for name, a, b in self._fields(start, end, _DIM, where):
            if name == "denotation":
                self._text(a, b, where)
            elif dim is not None:
                raise malformed("a dimension with a size and a symbol", where)
            else:
                dim = _signed(a) if name == "dim_value" else self._text(a, b, where)
        return dim


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def read_model(data: bytes) -> Model:
    """Read an ONNX file as data.

    Args:
        data: the whole file.

    Returns:
        The model; tensors are views of `data`.

    Raises:
        OnnxRefusedError: the bytes are not the canonical encoding of a model (DP302-DP309), or hold a field
            that is refused wherever it stands (DP305-DP307, DP320, DP321, DP331, DP337).
    """
    return _Reader(data).model()
