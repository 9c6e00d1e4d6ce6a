# SPDX-License-Identifier: Apache-2.0
"""The opcode interpreter: a pickle or joblib stream in, an inert graph and findings out; nothing is ever imported.

Rules of this module (the numbers are those of docs/adr/0040):

* Opcodes that no honest pickler writes are refused: INST, OBJ, EXT*, PERSID, BINPERSID, NEXT_BUFFER,
  READONLY_BUFFER, POP, POP_MARK, DUP and the string opcodes of Python 2.
* Frames end where they say, the memo has no gaps, items and state go only to what the stream just made. An
  object that came out of the memo is finished: nothing may be added to it.
* A name becomes a `GlobalRef` and stays one. Every use of it is checked against the policy in that role.
* After a problem with a *name* reading goes on, so that a report shows everything; after a problem with the
  *stream* it stops.

This file is one loop and longer than others, because each call in the loop would cost more than the opcode.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence, Sized
from typing import Final

from . import arrays
from .arguments import PARTIAL, RULES_BY_NAME, PartialError, partial_keywords
from .arrays import ArgumentError
from .findings import Finding
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
from .limits import (
    BULK_BYTES,
    CHECK_EVERY_BYTES,
    MAX_FINDINGS,
    MAX_INSTRUCTION_BYTES,
    MAX_LONG_BYTES,
    MAX_MARKS,
    MAX_NODES,
    MAX_NUMBER_CHARS,
    MAX_TUPLE_KEYS,
)
from .names import CANONICAL_MODULES, FORBIDDEN_NAMES, FORBIDDEN_ROOTS, is_library_module, is_plain_name
from .opcodes import OPCODE_NAMES, UNUSED_OPCODES
from .policy import GlobalEntry, Policy, Role
from .rules import finding
from .states import HONEST_KEYS, METHOD_NAMES, SHADOWING_KEYS

__all__ = ["WRAPPER", "Interpreter", "StreamError"]

#: The class that steers joblib's array reader.
WRAPPER: Final = "joblib.numpy_pickle.NumpyArrayWrapper"
_WRAPPER_PAIR: Final = ("joblib.numpy_pickle", "NumpyArrayWrapper")
_OLD_WRAPPERS: Final = frozenset(
    (module, name)
    for module in (
        "joblib.numpy_pickle",
        "joblib.numpy_pickle_compat",
        "sklearn.externals.joblib.numpy_pickle",
    )
    for name in ("NDArrayWrapper", "ZNDArrayWrapper")
)
_FLOAT: Final = struct.Struct(">d").unpack_from
_UINT4: Final = struct.Struct("<I").unpack_from
_INT4: Final = struct.Struct("<i").unpack_from
_UINT8: Final = struct.Struct("<Q").unpack_from
_TARGETS: Final = frozenset({ListNode, DictNode, SetNode, Record})
_INT64: Final = 1 << 63
_TEXT: Final = frozenset({str})


_WRAPPER_FIELDS: Final = frozenset({"subclass", "shape", "order", "dtype", "allow_mmap"})
_WRAPPER_ALL_FIELDS: Final = _WRAPPER_FIELDS | {"numpy_array_alignment_bytes"}


class StreamError(Exception):
    """Internal: the stream cannot be followed further; becomes the last finding."""

    def __init__(self, rule: str, message: str, offset: int | None = None, opcode: int | None = None) -> None:
        super().__init__(message)
        self.rule = rule
        self.message = message
        self.offset = offset
        self.opcode = opcode

    def finding(self) -> Finding:
        """The finding that this error is."""
        name = None if self.opcode is None else OPCODE_NAMES.get(self.opcode, f"0x{self.opcode:02x}")
        return finding(self.rule, self.message, offset=self.offset, opcode=name)


class Interpreter:
    """One reading of one stream under one policy.

    Attributes:
        findings: what was refused or noted so far.
        uses: (module, name, role) to the offset of its first use, names as the stream spells them.
        unknown: records of classes that the policy does not hold and no library owns.
        records: every record created, in the order of the stream.
        wrappers: how many joblib arrays were read.
        protocol: what the PROTO opcode said, 0 where there is none (protocols 0 and 1).
    """

    def __init__(self, stream: bytes, policy: Policy) -> None:
        self.data = stream
        self.view = memoryview(stream)
        self.table = policy.table
        self.findings: list[Finding] = []
        self.uses: dict[tuple[str, str, Role], int] = {}
        self.unknown: list[Record] = []
        self.records: list[Record] = []
        self.wrappers = 0
        self.protocol = 0
        self._open_wrappers = 0
        self._open_arrays = 0
        self._open_dtypes = 0
        self._open_partials = 0
        self._tuple_keys = 0
        self._copied = 0
        self._claimed = 0
        self._nodes = 0
        self._bulk = 0
        self._at = 0
        self._known_keys: set[object] = set()
        self._given: list[tuple[Sized, int]] = []
        self._created: dict[tuple[str, str], bool] = {}

    # ---- what the argument rules may ask ---------------------------------------------------------------------

    def key(self, value: Raw) -> object:
        """`value` as a dict key or set member.

        Raises:
            StreamError: DP433 for anything that is not simple.
        """
        kind = type(value)
        if kind is str or value is None or kind is bool or kind is float:
            return value
        if kind is int:
            if -_INT64 <= value < 2 * _INT64:  # type: ignore[operator]  # an int
                return value
        elif isinstance(value, bytes):
            return value
        elif isinstance(value, NumpyScalar):
            if value.dtype.descr[1] in "biufSU":
                return value
        elif isinstance(value, TupleNode):
            self._tuple_keys += 1
            if self._tuple_keys > MAX_TUPLE_KEYS:
                raise StreamError("DP414", f"more than {MAX_TUPLE_KEYS} keys are tuples", self._at)
            if len(value) <= 16 and not any(isinstance(item, TupleNode) for item in value):
                return tuple([self.key(item) for item in value])
        elif isinstance(value, memoryview) and len(value) <= 4096:
            return bytes(value)
        raise StreamError("DP433", f"a key or member is of the kind {_kind(value)}", self._at)

    def charge(self, size: int) -> None:
        """Account for `size` copied bytes.

        Raises:
            StreamError: DP414 once copies outgrow the file.
        """
        self._copied += size
        if self._copied > 4 * len(self.data) + 65536:
            raise StreamError("DP414", "the stream has the same bytes copied over and over", self._at)

    def claim(self, size: int) -> None:
        """Account for an array of `size` bytes.

        Raises:
            StreamError: DP414 once arrays claim more bytes than the file has.
        """
        self._claimed += size
        if self._claimed > 2 * len(self.data) + 65536:
            raise StreamError("DP414", "several arrays claim the same bytes", self._at)

    def given(self, items: Sized) -> None:
        """Remember that something took `items`, a list or dict that must not grow from here on.

        Loading copies what it is given, so an object would keep the start where the graph shows the end.
        """
        self._given.append((items, len(items)))

    def opened(self, kind: str) -> None:
        """Count a dtype, array or partial that a later BUILD must complete."""
        if kind == "dtype":
            self._open_dtypes += 1
        elif kind == "partial":
            self._open_partials += 1
        else:
            self._open_arrays += 1

    def admits_data(self, ref: GlobalRef) -> bool:
        """True where `ref` may be mentioned; reports it otherwise."""
        return self._admits(ref, "data", "MENTION")

    def admits_created(self, ref: GlobalRef) -> bool:
        """True where the class may be created, or is unknown and may turn out to be auxiliary."""
        pair = (ref.module, ref.name)
        known = self._created.get(pair)
        if known is None:
            entry = self.table.get(pair)
            if entry is not None and "created" in entry.roles:
                self.uses[(ref.module, ref.name, "created")] = ref.offset
                known = True
            elif pair in _OLD_WRAPPERS:
                raise StreamError("DP443", f"{ref.path} belongs to joblib before 0.10", ref.offset)
            elif entry is None and is_plain_name(*pair) and not is_library_module(ref.module):
                known = False
            else:
                known = self._admits(ref, "created", "NEWOBJ")
            self._created[pair] = known
        return known

    # ---- findings --------------------------------------------------------------------------------------------

    def report(
        self, rule: str, message: str, *, offset: int, opcode: str | None = None, reached: str | None = None
    ) -> None:
        """Keep a finding.

        Raises:
            StreamError: DP414 when there are too many.
        """
        self.findings.append(finding(rule, message, offset=offset, opcode=opcode, reached=reached))
        if len(self.findings) >= MAX_FINDINGS:
            raise StreamError("DP414", f"{MAX_FINDINGS} findings are enough; the rest was not read", offset)

    def _admits(self, ref: GlobalRef, role: Role, opcode: str) -> bool:
        entry: GlobalEntry | None = self.table.get((ref.module, ref.name))
        if entry is not None and role in entry.roles:
            self.uses.setdefault((ref.module, ref.name, role), ref.offset)
            return True
        path = ref.path
        verb = {"created": "creates", "called": "calls", "data": "mentions"}[role]
        if (ref.module, ref.name) in FORBIDDEN_NAMES or (
            ref.module.partition(".")[0] in FORBIDDEN_ROOTS - {"__main__"} and entry is None
        ):
            self.report(
                "DP420",
                f"Attempted to load unsafe module: loading {verb} {path}",
                offset=ref.offset,
                opcode=opcode,
                reached=path,
            )
        elif entry is not None and entry.roles:
            admitted = ", ".join(entry.roles)
            self.report(
                "DP424",
                f"loading {verb} {path}, which the policy admits as {admitted} only",
                offset=ref.offset,
                opcode=opcode,
                reached=path,
            )
        else:
            rule = {"created": "DP423", "called": "DP421", "data": "DP425"}[role]
            if role == "created" and is_library_module(ref.module):
                rule = "DP429"
            self.report(
                rule,
                f"loading {verb} {path}, which no policy holds",
                offset=ref.offset,
                opcode=opcode,
                reached=path,
            )
        return False

    # ---- opcodes that are not hot ----------------------------------------------------------------------------

    def _global(self, module: Raw, name: Raw, offset: int) -> GlobalRef:
        if type(module) is not str or type(name) is not str:
            raise StreamError("DP415", "a name is not text", offset)
        if (module, name) not in self.table and not is_plain_name(module, name):
            self.report(
                "DP422",
                f"{(module + '.' + name)[:120]!r} is not a module and a plain name",
                offset=offset,
                opcode="STACK_GLOBAL",
                reached=f"{module}.{name}"[:200],
            )
        return GlobalRef(module, name, offset)

    def _new(self, cls: Raw, args: Raw, offset: int) -> Record:
        if not isinstance(cls, GlobalRef) or not isinstance(args, TupleNode):
            raise StreamError("DP415", "NEWOBJ needs a class and a tuple", offset, 0x81)
        known = self.admits_created(cls)
        module = CANONICAL_MODULES.get(cls.module, cls.module)
        record = Record(module, cls.name, "newobj", tuple(_landed(args.items)), offset)
        if cls.name == "_ImputerTriplet" and known:
            try:
                RULES_BY_NAME["imputer_triplet"](self, cls, args.items, offset)
            except ArgumentError as error:
                self._argument_finding(cls, error, offset, "NEWOBJ")
        elif args.items:
            entry = self.table.get((cls.module, cls.name))
            if entry is None or entry.rule != "with_args":
                self.report(
                    "DP426",
                    f"{cls.path} is created with arguments; honest models create it without",
                    offset=offset,
                    opcode="NEWOBJ",
                    reached=cls.path,
                )
        self._remember(record, cls, known)
        return record

    def _remember(self, record: Record, cls: GlobalRef, known: bool) -> None:
        self.records.append(record)
        if record.module == _WRAPPER_PAIR[0] and record.name == _WRAPPER_PAIR[1]:
            self._open_wrappers += 1
        elif not known and (cls.module, cls.name) not in self.table:
            self.unknown.append(record)

    def _reduce(self, ref: Raw, args: Raw, offset: int) -> Raw:
        if not isinstance(args, TupleNode):
            raise StreamError("DP415", "REDUCE needs a tuple of arguments", offset, 0x52)
        if not isinstance(ref, GlobalRef):
            raise StreamError("DP415", f"REDUCE calls {_kind(ref)}, not a name", offset, 0x52)
        self._at = offset
        entry = self.table.get((ref.module, ref.name))
        if entry is None or "called" not in entry.roles:
            self._admits(ref, "called", "REDUCE")
            return self._placeholder(ref, args, offset)
        self.uses.setdefault((ref.module, ref.name, "called"), ref.offset)
        rule = entry.rule or ("pyx_unpickle" if ref.name.startswith("__pyx_unpickle_") else "inert")
        try:
            made = RULES_BY_NAME[rule](self, ref, args.items, offset)
        except ArgumentError as error:
            self._argument_finding(ref, error, offset)
            return self._placeholder(ref, args, offset)
        self._take(args)
        if isinstance(made, Record):
            if rule in ("reconstructor", "newobj") and isinstance(args[0], GlobalRef):
                self._remember(made, args[0], self._created.get((args[0].module, args[0].name), False))
            else:
                self.records.append(made)
        return made

    def _take(self, parts: TupleNode) -> None:
        for part in parts.items:
            if type(part) is ListNode or type(part) is DictNode:
                self.given(part.items)

    def _argument_finding(
        self, ref: GlobalRef, error: ArgumentError, offset: int, opcode: str = "REDUCE"
    ) -> None:
        self.report(error.rule, f"{ref.path}: {error}", offset=offset, opcode=opcode, reached=ref.path)

    def _placeholder(self, ref: GlobalRef, args: TupleNode, offset: int) -> Record:
        return Record(ref.module, ref.name, "reduce", tuple(_landed(args.items)), offset)

    def _build(self, target: Raw, state: Raw, offset: int) -> Raw:
        """Give `state` to `target`; returns what then stands on the stack."""
        self._at = offset
        kind = type(target)
        if kind is Record:
            return self._build_record(target, state, offset)  # type: ignore[arg-type]  # a Record
        try:
            if isinstance(target, Dtype):
                arrays.build_dtype(target, state)
                self._open_dtypes -= 1
                return target
            if isinstance(target, Array):
                arrays.build_array(self, target, state)
                self._open_arrays -= 1
                return target
        except ArgumentError as error:
            raise StreamError(error.rule, str(error), offset, 0x62) from error
        if isinstance(target, GlobalRef):
            self.report(
                "DP430",
                f"loading sets attributes of {target.path} itself, for the whole process",
                offset=offset,
                opcode="BUILD",
                reached=target.path,
            )
            return target
        raise StreamError("DP430", f"state for {_kind(target)}", offset, 0x62)

    def _build_record(self, target: Record, state: Raw, offset: int) -> Raw:
        if target.state is not None:
            self.report(
                "DP430",
                f"{target.cls} gets its state twice",
                offset=offset,
                opcode="BUILD",
                reached=target.cls,
            )
            return target
        if target.name == "partial" and target.cls == PARTIAL:
            return self._build_partial(target, state, offset)
        if not isinstance(state, DictNode | TupleNode):
            raise StreamError("DP430", f"the state of {target.cls} is {_kind(state)}", offset, 0x62)
        if target.module == "numpy.ma.core" and target.name == "MaskedArray":
            try:
                target.state = arrays.build_masked_array(self, target, state, offset)
            except ArgumentError as error:
                raise StreamError(error.rule, str(error), offset, 0x62) from error
            return target
        target.state = state
        if isinstance(state, DictNode):
            self._check_keys(target, state, offset)
            return target
        self._take(state)
        if len(state) == 2:
            for half in state:
                if isinstance(half, DictNode):
                    self._check_keys(target, half, offset)
        return target

    def _build_partial(self, target: Record, state: Raw, offset: int) -> Record:
        try:
            target.state = partial_keywords(self, state)
        except PartialError as error:
            raise StreamError(error.rule, f"{PARTIAL}: {error}", offset, 0x62) from error
        self._open_partials -= 1
        return target

    def _check_keys(self, target: Record, state: DictNode, offset: int) -> None:
        keys = state.items
        if self._known_keys.issuperset(keys) and _TEXT.issuperset(map(type, keys)):
            return
        admitted = (target.module, target.name) in self.table
        for key in keys:
            if type(key) is not str:
                self.report(
                    "DP431",
                    f"{target.cls} has an attribute whose name is {_kind(key)}",
                    offset=offset,
                    opcode="BUILD",
                    reached=target.cls,
                )
                return
            honest = HONEST_KEYS.get(target.cls, ())
            if (
                (key in SHADOWING_KEYS and key not in honest)
                or (admitted and key in METHOD_NAMES and key not in honest)
                or (key[:2] == "__" and key[-2:] == "__")
                or len(key) > 200
            ):
                self.report(
                    "DP431",
                    f"{target.cls} has an attribute {key[:80]!r}, which replaces what the class does",
                    offset=offset,
                    opcode="BUILD",
                    reached=f"{target.cls}.{key[:80]}",
                )
                return
        if admitted and target.cls not in HONEST_KEYS:
            self._known_keys.update(keys)

    def _extend(self, target: Raw, items: list[Raw], offset: int, opcode: int) -> None:
        """APPEND(S) to what is not a plain list."""
        if isinstance(target, Record):
            entry = self.table.get((target.module, target.name))
            if entry is not None and entry.rule == "sequence" and target.state is None:
                target.listitems = [*(target.listitems or []), *_landed(items)]
                return
            self.report(
                "DP432",
                f"items are appended to {target.cls}, which calls its method",
                offset=offset,
                opcode="APPENDS",
                reached=f"{target.cls}.append",
            )
            return
        raise StreamError("DP432", f"items are appended to {_kind(target)}", offset, opcode)

    def _update(self, target: Raw, items: list[Raw], offset: int, opcode: int) -> None:
        """SETITEM(S)."""
        self._at = offset
        if len(items) % 2:
            raise StreamError("DP415", "a key without a value", offset, opcode)
        if isinstance(target, DictNode):
            held = target.items
        elif isinstance(target, Record):
            entry = self.table.get((target.module, target.name))
            if entry is None or entry.rule != "mapping" or target.state is not None:
                self.report(
                    "DP432",
                    f"items are set on {target.cls}, which calls its method",
                    offset=offset,
                    opcode="SETITEMS",
                    reached=f"{target.cls}.__setitem__",
                )
                return
            if target.dictitems is None:
                target.dictitems = {}
            held = target.dictitems
        else:
            raise StreamError("DP432", f"items are set on {_kind(target)}", offset, opcode)
        keys = items[::2]
        before = len(held)
        if _TEXT.issuperset(map(type, keys)):
            held.update(zip(keys, items[1::2], strict=True))  # type: ignore[arg-type]  # landed by the survey
        else:
            self._nodes += len(keys)
            held.update(zip(map(self.key, keys), items[1::2], strict=True))  # type: ignore[arg-type]
        if len(held) != before + len(keys):
            raise StreamError("DP433", "a key occurs twice", offset, opcode)

    def _line(self, start: int) -> tuple[bytes, int]:
        end = self.data.find(b"\n", start, start + MAX_NUMBER_CHARS)
        if end < 0:
            raise StreamError("DP410", "a line does not end", start)
        return self.data[start:end], end + 1

    def _text_opcode(self, op: int, pos: int) -> tuple[Raw, int]:
        """INT, LONG, FLOAT, UNICODE: the text arguments of protocols 0 and 1."""
        if op == 0x56:
            end = self.data.find(b"\n", pos + 1)
            if end < 0:
                raise StreamError("DP410", "a line does not end", pos, op)
            self._payload(end - pos)
            text = self.data[pos + 1 : end].decode("raw-unicode-escape")
            text.encode()  # a lone surrogate, which the escapes allow, is no text and breaks every report
            return text, end + 1
        line, after = self._line(pos + 1)
        if op == 0x46:
            if not line or line.strip() != line or b"_" in line:
                raise StreamError("DP410", "not a number", pos, op)
            return float(line), after
        if op == 0x49 and line in (b"00", b"01"):
            return line == b"01", after
        digits = line[:-1] if op == 0x4C and line.endswith(b"L") else line
        if not digits.removeprefix(b"-").isdigit():
            raise StreamError("DP410", "not a whole number", pos, op)
        return int(digits), after

    def _payload(self, size: int) -> None:
        if size >= BULK_BYTES:
            self._bulk += size

    def _look(self, pos: int, start: int, nodes: int) -> None:
        """Check the bounds; called every `CHECK_EVERY_BYTES` and at the end."""
        if pos - start - self._bulk > MAX_INSTRUCTION_BYTES:
            raise StreamError("DP414", f"more than {MAX_INSTRUCTION_BYTES} bytes of instructions", pos)
        if self._nodes + nodes > MAX_NODES:
            raise StreamError("DP414", f"more than {MAX_NODES} objects, calls and names", pos)

    # ---- joblib ----------------------------------------------------------------------------------------------

    def _joblib_array(self, wrapper: Record, pos: int) -> tuple[Array, int]:
        """The array whose bytes follow `wrapper` in the stream, and where they end."""
        shape, order, dtype, alignment = _wrapper_fields(wrapper, pos)
        self.wrappers += 1
        self._open_wrappers -= 1
        if dtype.is_object:
            inner, pos = self.run(pos, nested=True)
            if not isinstance(inner, Array) or not inner.is_object or list(inner.shape) != shape.items:
                raise StreamError("DP442", "the nested pickle is not the array that was announced", pos)
            return inner, pos
        if alignment:
            padding = self.data[pos] if pos < len(self.data) else 0
            if not 0 < padding <= alignment or self.data[pos + 1 : pos + 1 + padding] != b"\xff" * padding:
                raise StreamError("DP442", "the padding before an array is not joblib's", pos)
            pos += 1 + padding
        array = Array(arrays.UNBUILT, (), None, None, wrapper.offset)
        size = max(dtype.itemsize, 0)
        for part in shape:
            size *= part if type(part) is int and part >= 0 else 0
            if size > len(self.data):
                raise StreamError("DP441", "an array needs more bytes than the file has", pos)
        if pos + size > len(self.data):
            raise StreamError("DP441", "an array needs more bytes than are left", pos)
        try:
            arrays.fill_array(self, array, shape, dtype, self.view[pos : pos + size], fortran=order == "F")
        except ArgumentError as error:
            raise StreamError(error.rule, str(error), pos) from error
        self._bulk += size
        return array, pos + size

    # ---- the loop --------------------------------------------------------------------------------------------

    def run(self, start: int, *, nested: bool = False) -> tuple[Raw, int]:
        """Interpret one pickle from `start`.

        Args:
            start: offset of the first opcode.
            nested: True for the pickle of an object array inside a joblib stream.

        Returns:
            The value, and the offset after STOP.

        Raises:
            StreamError: where the stream cannot be followed.
        """
        try:
            return self._loop(start, nested)
        except IndexError as error:
            raise StreamError(
                "DP410", "the stack, the memo or the stream has no such entry", self._at
            ) from error
        except (ValueError, struct.error, OverflowError) as error:
            reason = str(error).partition(":")[0][:120]
            raise StreamError("DP410", f"an argument cannot be read ({reason})", self._at) from error

    def _loop(self, start: int, nested: bool) -> tuple[Raw, int]:
        data, view, size = self.data, self.view, len(self.data)
        stack: list[Raw] = []
        append = stack.append
        meta: list[list[Raw]] = []
        memo: list[Raw] = []
        remember = memo.append
        got: dict[tuple[int, int], Raw] = {}
        held: dict[int, tuple[SetNode, set[object]]] = {}
        nodes = 0
        frame_end = 0
        pos = start
        limit = min(size, pos + CHECK_EVERY_BYTES)
        op = -1
        if data[pos] == 0x80:
            if data[pos + 1] > 5 or data[pos + 1] < 2:
                raise StreamError("DP410", f"protocol {data[pos + 1]} does not exist", pos, 0x80)
            if not nested:
                self.protocol = data[pos + 1]
            pos += 2
        while True:
            while pos < limit:
                op = data[pos]
                if op >= 0x80:
                    if op == 0x94:  # MEMOIZE
                        remember(stack[-1])
                        pos += 1
                    elif op == 0x8C:  # SHORT_BINUNICODE
                        end = pos + 2 + data[pos + 1]
                        append(data[pos + 2 : end].decode())
                        if end >= limit:
                            if end > size:
                                break
                            pos = end
                        elif data[end] == 0x94:  # MEMOIZE follows almost always; saves a turn, here and below
                            remember(stack[-1])
                            pos = end + 1
                        else:
                            pos = end
                    elif op == 0x85:  # TUPLE1
                        stack[-1] = TupleNode([stack[-1]], pos)  # type: ignore[list-item]
                        nodes += 1
                        pos += 1
                        if data[pos] == 0x94 and pos < limit:
                            remember(stack[-1])
                            pos += 1
                    elif op == 0x86:  # TUPLE2
                        last = stack.pop()
                        stack[-1] = TupleNode([stack[-1], last], pos)  # type: ignore[list-item]
                        nodes += 1
                        pos += 1
                        if data[pos] == 0x94 and pos < limit:
                            remember(stack[-1])
                            pos += 1
                    elif op == 0x87:  # TUPLE3
                        last = stack.pop()
                        middle = stack.pop()
                        stack[-1] = TupleNode([stack[-1], middle, last], pos)  # type: ignore[list-item]
                        nodes += 1
                        pos += 1
                        if data[pos] == 0x94 and pos < limit:
                            remember(stack[-1])
                            pos += 1
                    elif op == 0x89:  # NEWFALSE
                        append(False)
                        pos += 1
                    elif op == 0x88:  # NEWTRUE
                        append(True)
                        pos += 1
                    elif op == 0x93:  # STACK_GLOBAL
                        last = stack.pop()
                        stack[-1] = self._global(stack[-1], last, pos)
                        nodes += 1
                        pos += 1
                        if data[pos] == 0x94 and pos < limit:
                            remember(stack[-1])
                            pos += 1
                    elif op == 0x81:  # NEWOBJ
                        last = stack.pop()
                        stack[-1] = self._new(stack[-1], last, pos)
                        nodes += 1
                        pos += 1
                        if data[pos] == 0x94 and pos < limit:
                            remember(stack[-1])
                            pos += 1
                    elif op == 0x95:  # FRAME
                        if frame_end:
                            raise StreamError("DP412", "a frame begins inside a frame", pos, op)
                        frame_end = pos + 9 + _UINT8(data, pos + 1)[0]
                        pos += 9
                        if frame_end > size or frame_end <= pos:
                            raise StreamError("DP412", "a frame ends outside the stream", pos, op)
                        limit = min(frame_end, pos + CHECK_EVERY_BYTES)
                    elif op == 0x8A or op == 0x8B:  # LONG1, LONG4
                        if op == 0x8A:
                            width, head = data[pos + 1], pos + 2
                        else:
                            width, head = _UINT4(data, pos + 1)[0], pos + 5
                        if width > MAX_LONG_BYTES:
                            raise StreamError("DP414", f"a number of {width} bytes", pos, op)
                        end = head + width
                        if end > size:
                            break
                        append(int.from_bytes(data[head:end], "little", signed=True))
                        nodes += 1
                        pos = end
                    elif op == 0x8F:  # EMPTY_SET
                        append(SetNode([], pos))
                        nodes += 1
                        pos += 1
                    elif op == 0x90 or op == 0x91:  # ADDITEMS, FROZENSET
                        items = stack
                        stack = meta.pop()
                        append = stack.append
                        self._at = pos
                        members = {self.key(item) for item in items}
                        nodes += len(items)
                        if len(members) != len(items):
                            raise StreamError("DP433", "a member occurs twice", pos, op)
                        if op == 0x91:
                            append(SetNode(_landed(items), pos, frozen=True))
                        else:
                            target = stack[-1]
                            if not isinstance(target, SetNode) or target.frozen:
                                raise StreamError("DP432", f"members for {_kind(target)}", pos, op)
                            if got and got.get((len(meta), len(stack) - 1)) is target:
                                raise StreamError("DP432", "members for a finished set", pos, op)
                            before = held.setdefault(id(target), (target, set()))[1]
                            if not before.isdisjoint(members):
                                raise StreamError("DP433", "a member occurs twice", pos, op)
                            before |= members
                            target.items += _landed(items)
                        nodes += 1
                        pos += 1
                    elif op == 0x8D or op == 0x8E or op == 0x96:  # BINUNICODE8, BINBYTES8, BYTEARRAY8
                        end = pos + 9 + _UINT8(data, pos + 1)[0]
                        if end > size:
                            break
                        if op == 0x8D:
                            append(str(view[pos + 9 : end], "utf-8"))
                        else:
                            append(view[pos + 9 : end])
                        self._payload(end - pos)
                        pos = end
                    else:
                        raise StreamError("DP411", _refusal(op), pos, op)
                elif op >= 0x60:
                    if op == 0x68:  # BINGET
                        value = memo[data[pos + 1]]
                        if type(value) in _TARGETS:
                            got[len(meta), len(stack)] = value
                            nodes += 1
                        append(value)
                        pos += 2
                    elif op == 0x71:  # BINPUT
                        if data[pos + 1] != len(memo):
                            raise StreamError(
                                "DP413", f"memo entry {data[pos + 1]} after {len(memo)}", pos, op
                            )
                        remember(stack[-1])
                        pos += 2
                    elif op == 0x74:  # TUPLE
                        items = stack
                        stack = meta.pop()
                        append = stack.append
                        append(TupleNode(items, pos))  # type: ignore[arg-type]  # landed by the survey
                        nodes += 1
                        pos += 1
                        if data[pos] == 0x94 and pos < limit:
                            remember(stack[-1])
                            pos += 1
                    elif op == 0x75 or op == 0x73:  # SETITEMS, SETITEM
                        if op == 0x75:
                            items = stack
                            stack = meta.pop()
                            append = stack.append
                        else:
                            last = stack.pop()
                            items = [stack.pop(), last]
                        target = stack[-1]
                        if got and got.get((len(meta), len(stack) - 1)) is target:
                            raise StreamError("DP432", "items for a finished object", pos, op)
                        if not items:
                            raise StreamError("DP415", "an empty batch of items", pos, op)
                        self._update(target, items, pos, op)
                        nodes += 1
                        pos += 1
                    elif op == 0x62:  # BUILD
                        state = stack.pop()
                        target = stack[-1]
                        if got:
                            place = (len(meta), len(stack))
                            if got.get((place[0], place[1] - 1)) is target or (
                                type(state) is DictNode and got.get(place) is state
                            ):
                                raise StreamError("DP430", "state for, or from, a finished object", pos, op)
                        made = self._build(target, state, pos)
                        pos += 1
                        if (
                            type(made) is Record
                            and made.name == "NumpyArrayWrapper"
                            and made.module == "joblib.numpy_pickle"
                        ):
                            if nested:
                                raise StreamError("DP442", "joblib nests plain pickles only", pos, op)
                            if frame_end and pos != frame_end:
                                raise StreamError("DP442", "an array begins inside a frame", pos, op)
                            frame_end = 0
                            stack[-1], pos = self._joblib_array(made, pos)
                            limit = min(size, pos + CHECK_EVERY_BYTES)
                            nodes += 1
                        else:
                            stack[-1] = made
                    elif op == 0x7D:  # EMPTY_DICT
                        append(DictNode({}, pos))
                        nodes += 1
                        pos += 1
                        if data[pos] == 0x94 and pos < limit:
                            remember(stack[-1])
                            pos += 1
                    elif op == 0x6A:  # LONG_BINGET
                        value = memo[_UINT4(data, pos + 1)[0]]
                        if type(value) in _TARGETS:
                            got[len(meta), len(stack)] = value
                            nodes += 1
                        append(value)
                        pos += 5
                    elif op == 0x72:  # LONG_BINPUT
                        index = _UINT4(data, pos + 1)[0]
                        if index != len(memo):
                            raise StreamError("DP413", f"memo entry {index} after {len(memo)}", pos, op)
                        remember(stack[-1])
                        pos += 5
                    elif op == 0x65 or op == 0x61:  # APPENDS, APPEND
                        if op == 0x65:
                            items = stack
                            stack = meta.pop()
                            append = stack.append
                        else:
                            items = [stack.pop()]
                        target = stack[-1]
                        if got and got.get((len(meta), len(stack) - 1)) is target:
                            raise StreamError("DP432", "items for a finished object", pos, op)
                        if type(target) is ListNode:
                            target.items += items  # type: ignore[arg-type]  # landed by the survey
                        else:
                            self._extend(target, items, pos, op)
                        nodes += 1
                        pos += 1
                    elif op == 0x67 or op == 0x70:  # GET, PUT
                        line, end = self._line(pos + 1)
                        if not line.isdigit() or len(line) > 10:
                            raise StreamError("DP410", "not a memo number", pos, op)
                        if op == 0x67:
                            value = memo[int(line)]
                            if type(value) in _TARGETS:
                                got[len(meta), len(stack)] = value
                                nodes += 1
                            append(value)
                        else:
                            if int(line) != len(memo):
                                raise StreamError(
                                    "DP413", f"memo entry {int(line)} after {len(memo)}", pos, op
                                )
                            remember(stack[-1])
                        pos = end
                    elif op == 0x63:  # GLOBAL
                        line, end = self._line(pos + 1)
                        name, end = self._line(end)
                        append(self._global(line.decode("utf-8"), name.decode("utf-8"), pos))
                        nodes += 4
                        pos = end
                    elif op == 0x6C:  # LIST
                        items = stack
                        stack = meta.pop()
                        append = stack.append
                        append(ListNode(items, pos))  # type: ignore[arg-type]  # landed by the survey
                        nodes += 1
                        pos += 1
                    elif op == 0x64:  # DICT
                        items = stack
                        stack = meta.pop()
                        append = stack.append
                        node = DictNode({}, pos)
                        self._update(node, items, pos, op)
                        append(node)
                        nodes += 1
                        pos += 1
                    else:
                        raise StreamError("DP411", _refusal(op), pos, op)
                else:
                    if op == 0x4B:  # BININT1
                        append(data[pos + 1])
                        pos += 2
                    elif op == 0x4E:  # NONE
                        append(None)
                        pos += 1
                    elif op == 0x28:  # MARK
                        meta.append(stack)
                        if len(meta) > MAX_MARKS:
                            raise StreamError("DP414", f"more than {MAX_MARKS} open marks", pos, op)
                        stack = []
                        append = stack.append
                        pos += 1
                    elif op == 0x58:  # BINUNICODE
                        width = _UINT4(data, pos + 1)[0]
                        end = pos + 5 + width
                        if end > size:
                            break
                        if width >= BULK_BYTES:
                            append(str(view[pos + 5 : end], "utf-8"))
                            self._bulk += width
                        else:
                            append(data[pos + 5 : end].decode())
                        if end + 1 < limit and data[end] == 0x71 and data[end + 1] == len(memo):
                            remember(stack[-1])
                            end += 2
                        pos = end
                    elif op == 0x52:  # REDUCE
                        last = stack.pop()
                        stack[-1] = self._reduce(stack[-1], last, pos)
                        nodes += 2
                        pos += 1
                        if data[pos] == 0x94 and pos < limit:
                            remember(stack[-1])
                            pos += 1
                    elif op == 0x29:  # EMPTY_TUPLE
                        append(TupleNode([], pos))
                        nodes += 1
                        pos += 1
                    elif op == 0x43:  # SHORT_BINBYTES
                        end = pos + 2 + data[pos + 1]
                        append(data[pos + 2 : end])
                        if end > size:
                            break
                        pos = end
                    elif op == 0x4A:  # BININT
                        append(_INT4(data, pos + 1)[0])
                        pos += 5
                    elif op == 0x4D:  # BININT2
                        append(data[pos + 1] | data[pos + 2] << 8)
                        pos += 3
                    elif op == 0x47:  # BINFLOAT
                        append(_FLOAT(data, pos + 1)[0])
                        pos += 9
                    elif op == 0x5D:  # EMPTY_LIST
                        append(ListNode([], pos))
                        nodes += 1
                        pos += 1
                        if data[pos] == 0x94 and pos < limit:
                            remember(stack[-1])
                            pos += 1
                    elif op == 0x42:  # BINBYTES
                        width = _UINT4(data, pos + 1)[0]
                        end = pos + 5 + width
                        if end > size:
                            break
                        if width >= BULK_BYTES:
                            append(view[pos + 5 : end])
                            self._bulk += width
                        else:
                            append(data[pos + 5 : end])
                        pos = end
                    elif op == 0x49 or op == 0x4C or op == 0x46 or op == 0x56:  # INT, LONG, FLOAT, UNICODE
                        value, pos = self._text_opcode(op, pos)
                        append(value)
                        nodes += 1
                    elif op == 0x2E:  # STOP
                        pos += 1
                        if frame_end and pos != frame_end:
                            raise StreamError("DP412", "a frame goes on after the end", pos, op)
                        if len(stack) != 1 or meta:
                            raise StreamError(
                                "DP415", f"{len(stack)} values and {len(meta)} marks are left", pos, op
                            )
                        self._finish(pos, start, nodes, nested)
                        return stack[0], pos
                    else:
                        raise StreamError("DP411", _refusal(op), pos, op)
            self._at = pos
            if pos < limit:
                raise StreamError("DP410", "an opcode ends after the end of the file", pos, op)
            if frame_end:
                if pos > frame_end:
                    raise StreamError("DP412", "an opcode crosses the end of its frame", pos, op)
                if pos == frame_end:
                    frame_end = 0
            if pos >= size:
                raise StreamError("DP410", "the stream ends without STOP", pos, op)
            self._look(pos, start, nodes)
            limit = min(frame_end or size, pos + CHECK_EVERY_BYTES)

    def _finish(self, pos: int, start: int, nodes: int, nested: bool) -> None:
        self._look(pos, start, nodes)
        self._nodes += nodes
        if nested:
            return
        if self._open_arrays or self._open_dtypes:
            raise StreamError("DP441", "an array or a dtype never gets its state", pos)
        if self._open_wrappers:
            raise StreamError("DP442", "a joblib array never gets its bytes", pos)
        if self._open_partials:
            raise StreamError("DP420", f"{PARTIAL}: one never gets its keywords", pos)
        if any(len(items) != size for items, size in self._given):
            raise StreamError("DP432", "a list or dict grows after an object took it", pos)


def _wrapper_fields(wrapper: Record, pos: int) -> tuple[TupleNode, str, Dtype, int]:
    fields = wrapper.state
    if not isinstance(fields, DictNode) or not (
        _WRAPPER_FIELDS <= fields.items.keys() <= _WRAPPER_ALL_FIELDS
    ):
        raise StreamError("DP442", "the wrapper has other fields than joblib's", pos)
    subclass, shape, order = fields.get("subclass"), fields.get("shape"), fields.get("order")
    dtype, alignment = fields.get("dtype"), fields.get("numpy_array_alignment_bytes")
    if not isinstance(subclass, GlobalRef) or subclass.path not in ("numpy.ndarray", "numpy.memmap"):
        raise StreamError("DP442", "the wrapper is for something else than a plain array", pos)
    if not isinstance(shape, TupleNode) or order not in ("C", "F") or not isinstance(order, str):
        raise StreamError("DP442", "the wrapper has no shape or order", pos)
    if not isinstance(dtype, Dtype) or dtype.itemsize <= 0:
        raise StreamError("DP442", "the wrapper has no dtype", pos)
    if type(fields.get("allow_mmap")) is not bool or alignment not in (None, 16):
        raise StreamError("DP442", "the wrapper has another alignment than joblib's", pos)
    return shape, order, dtype, 16 if alignment == 16 else 0


def _landed(items: Sequence[Raw]) -> list[Value]:
    return [bytes(item) if isinstance(item, memoryview) else item for item in items]


def _refusal(op: int) -> str:
    return UNUSED_OPCODES.get(op, f"the byte 0x{op:02x} is no opcode that a pickler writes here")


_KINDS: Final[dict[type, str]] = {
    ListNode: "a list",
    TupleNode: "a tuple",
    SetNode: "a set",
    DictNode: "a dict",
    Array: "an array",
    Dtype: "a dtype",
    NumpyScalar: "a numpy scalar",
    memoryview: "bytes",
}


def _kind(value: object) -> str:
    if isinstance(value, Record):
        return f"an object of {value.cls}"
    if isinstance(value, GlobalRef):
        return f"the name {value.path}"
    return _KINDS.get(type(value), type(value).__name__)
