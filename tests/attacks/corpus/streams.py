# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E501  (an entry of a table reads best on its line)
"""Opcodes and their bookkeeping: what honest picklers never emit, and what two readers would read differently."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

from . import kit
from .kit import Entry, args, call, dumped, inside, many, name, shell, stream, system, text, value

__all__ = ["entries"]

_PICKLESCAN_MEMO = "picklescan issue 22"


def _old_calls() -> list[Entry]:
    def inst(m: Path) -> bytes:
        return inside(pickle.MARK + text(shell(m)) + pickle.INST + b"os\nsystem\n")

    def inst_of_an_admitted_class(m: Path) -> bytes:
        return inside(pickle.MARK + pickle.INST + b"sklearn.preprocessing._data\nStandardScaler\n")

    def obj(m: Path) -> bytes:
        return inside(pickle.MARK + name("pty", "spawn") + value(["touch", str(m)]) + pickle.OBJ)

    def obj_popped(m: Path) -> bytes:
        hidden = pickle.MARK + name("os", "system") + text(shell(m)) + pickle.OBJ + pickle.POP
        return inside(hidden + pickle.NONE)

    def newobj_ex(m: Path) -> bytes:
        popen = name("subprocess", "Popen") + pickle.EMPTY_TUPLE + value({"args": ["touch", str(m)]})
        return inside(popen + pickle.NEWOBJ_EX)

    def newobj_ex_admitted(m: Path) -> bytes:
        cls = name("sklearn.preprocessing._data", "StandardScaler")
        return inside(cls + pickle.EMPTY_TUPLE + value({"with_mean": False}) + pickle.NEWOBJ_EX)

    def newobj_with_arguments(m: Path) -> bytes:
        return inside(kit.new(name("_io", "FileIO"), args(str(m), "w")))

    def newobj_partial(m: Path) -> bytes:
        partial = kit.new(name("functools", "partial"), many(name("os", "system"), text(shell(m))))
        return inside(call(partial, args()))

    def extension(code: bytes) -> kit.Builder:
        return lambda m: inside(code)

    def persistent(m: Path) -> bytes:
        return inside(pickle.PERSID + b"../../somewhere/else\n")

    def persistent_binary(m: Path) -> bytes:
        return inside(text("storage") + pickle.BINPERSID)

    def next_buffer(m: Path) -> bytes:
        return inside(pickle.NEXT_BUFFER, protocol=5)

    def readonly_buffer(m: Path) -> bytes:
        return inside(kit.raw(b"x") + pickle.READONLY_BUFFER, protocol=5)

    return [
        Entry("old-inst", "INST imports and calls in one opcode", inst),
        Entry("old-inst-admitted", "INST with an admitted class: a second way to call", inst_of_an_admitted_class,
              effect="none"),
        Entry("old-obj", "OBJ calls from the stack", obj, advisory="fickling pull 108"),
        Entry("old-obj-popped", "OBJ calls, POP hides the result", obj_popped,
              advisory="fickling GHSA-mxhj-88fx-4pcv"),
        Entry("new-ex-popen", "NEWOBJ_EX with keywords", newobj_ex, effect="none"),
        Entry("new-ex-admitted", "NEWOBJ_EX with an admitted class", newobj_ex_admitted, effect="none"),
        Entry("new-arguments", "NEWOBJ with arguments for a class that opens a file in __new__",
              newobj_with_arguments, effect="none"),
        Entry("new-partial", "NEWOBJ makes a functools.partial, which REDUCE calls", newobj_partial),
        Entry("extension-1", "EXT1 names a class by number", extension(pickle.EXT1 + b"\x01"), effect="none"),
        Entry("extension-2", "EXT2 names a class by number", extension(pickle.EXT2 + b"\x01\x00"), effect="none"),
        Entry("extension-4", "EXT4 with a negative number",
              extension(pickle.EXT4 + struct.pack("<i", -1)), effect="none"),
        Entry("persistent-text", "PERSID asks the loading program for a path", persistent, effect="none"),
        Entry("persistent-binary", "BINPERSID asks the loading program for an object", persistent_binary,
              effect="none"),
        Entry("buffer-next", "NEXT_BUFFER takes bytes from outside the file", next_buffer, effect="none"),
        Entry("buffer-readonly", "READONLY_BUFFER wraps bytes of the file", readonly_buffer, effect="none"),
    ]  # fmt: skip


def _memo() -> list[Entry]:
    def overwritten(m: Path) -> bytes:
        """The name that a scanner remembers under 0 is not the one that is there in the end."""
        return stream(
            text("collections"), pickle.BINPUT + b"\x00", text("OrderedDict"), pickle.BINPUT + b"\x01",
            text("os"), pickle.BINPUT + b"\x00", text("system"), pickle.BINPUT + b"\x01",
            pickle.BINGET + b"\x00", pickle.BINGET + b"\x01", pickle.STACK_GLOBAL, args(shell(m)), pickle.REDUCE,
            b"\x86" * 4,
        )  # fmt: skip

    def gap(m: Path) -> bytes:
        return stream(text("x"), pickle.LONG_BINPUT + struct.pack("<I", 7), name("os", "system"), args(shell(m)),
                      pickle.REDUCE, pickle.TUPLE2)  # fmt: skip

    def huge_gap(m: Path) -> bytes:
        return stream(text("x"), pickle.LONG_BINPUT + struct.pack("<I", 200_000_000))

    def huge_text_gap(m: Path) -> bytes:
        return stream(text("x"), pickle.PUT + b"99999999999999999999\n")

    def negative(m: Path) -> bytes:
        return stream(text("x"), pickle.PUT + b"-1\n")

    def missing(m: Path) -> bytes:
        return stream(pickle.BINGET + b"\x05")

    def memoize_after_put(m: Path) -> bytes:
        """MEMOIZE takes the length of the memo, which PUT at 1 makes overwrite entry 1."""
        return stream(
            text("collections"), pickle.BINPUT + b"\x01", text("os"), pickle.MEMOIZE, text("system"),
            pickle.BINPUT + b"\x02", pickle.BINGET + b"\x01", pickle.BINGET + b"\x02", pickle.STACK_GLOBAL,
            args(shell(m)), pickle.REDUCE, b"\x87" + b"\x86",
        )  # fmt: skip

    def text_and_binary(m: Path) -> bytes:
        """The same entry by PUT 0 and BINPUT 0; Python's two unpicklers agree, scanners do not."""
        return stream(
            text("math"), pickle.PUT + b"0\n", text("os"), pickle.BINPUT + b"\x00", pickle.GET + b"0\n",
            text("system"), pickle.STACK_GLOBAL, args(shell(m)), pickle.REDUCE, pickle.TUPLE3,
        )  # fmt: skip

    def names_by_memo(m: Path) -> bytes:
        """Module and name come out of the memo, with padding in front of STACK_GLOBAL."""
        return stream(
            text("os"), pickle.MEMOIZE, text("system"), pickle.MEMOIZE, text("sklearn"), text("pipeline"),
            pickle.BINGET + b"\x00", pickle.BINGET + b"\x01", pickle.STACK_GLOBAL, args(shell(m)), pickle.REDUCE,
            pickle.TUPLE3, pickle.TUPLE2, pickle.TUPLE1,
        )  # fmt: skip

    def names_by_call(m: Path) -> bytes:
        """The name is the result of a call, so that no scanner finds it as a literal."""
        joined = call(name("_codecs", "decode"), many(kit.raw(b"fbfgrz"), text("ascii")))
        reversed_name = call(name("codecs", "decode"), args("flfgrz", "rot13"))
        return (
            stream(text("os"), reversed_name, pickle.STACK_GLOBAL, args(shell(m)), pickle.REDUCE) + joined[:0]
        )

    def names_not_text(m: Path) -> bytes:
        return stream(kit.raw(b"os"), kit.raw(b"system"), pickle.STACK_GLOBAL, args(shell(m)), pickle.REDUCE)

    def names_as_strings(m: Path) -> bytes:
        """STRING, not UNICODE, feeds STACK_GLOBAL."""
        return (pickle.STRING + b"'os'\n" + pickle.STRING + b"'system'\n" + pickle.STACK_GLOBAL
                + pickle.STRING + f'"{shell(m)}"\n'.encode() + pickle.TUPLE1 + pickle.REDUCE + pickle.STOP)  # fmt: skip

    return [
        Entry("memo-overwritten", "BINPUT overwrites an entry between scan and use", overwritten,
              advisory=_PICKLESCAN_MEMO),
        Entry("memo-gap", "a memo number is skipped", gap, rule="DP4", advisory=_PICKLESCAN_MEMO),
        Entry("memo-huge-gap", "LONG_BINPUT 200,000,000 makes the unpickler allocate a table", huge_gap,
              rule="DP413", effect="none"),
        Entry("memo-huge-text-gap", "PUT with a number beyond any table", huge_text_gap, effect="none"),
        Entry("memo-negative", "PUT -1", negative, effect="none"),
        Entry("memo-missing", "BINGET of an entry that was never put", missing, effect="none"),
        Entry("memo-memoize-after-put", "MEMOIZE counts otherwise than PUT", memoize_after_put,
              advisory="modelscan issue 85"),
        Entry("memo-text-and-binary", "PUT and BINPUT of one entry", text_and_binary, advisory="modelscan issue 85"),
        Entry("memo-names", "module and name of STACK_GLOBAL from the memo", names_by_memo,
              advisory="agent-bom pull 3326"),
        Entry("memo-names-by-call", "the name of STACK_GLOBAL is computed by an admitted-looking call",
              names_by_call),
        Entry("memo-names-bytes", "STACK_GLOBAL on bytes", names_not_text, effect="none"),
        Entry("memo-names-strings", "STACK_GLOBAL on strings of Python 2", names_as_strings,
              advisory="picklescan GHSA-9gvj-pp9x-gcfr"),
    ]  # fmt: skip


def _stack() -> list[Entry]:
    def popped(m: Path) -> bytes:
        return stream(system(m), pickle.POP, value(kit.package()))

    def popped_mark(m: Path) -> bytes:
        return stream(pickle.MARK, system(m), pickle.POP_MARK, value(kit.package()))

    def duplicated(m: Path) -> bytes:
        return stream(name("os", "system"), args(shell(m)), pickle.REDUCE, pickle.DUP, pickle.TUPLE2)

    def pop_takes_the_mark(m: Path) -> bytes:
        """On an empty stack POP takes the MARK away, so what looks like an argument is the function."""
        return stream(name("os", "system"), pickle.MARK, pickle.POP, args(shell(m)), pickle.REDUCE)

    def left_over(m: Path) -> bytes:
        return stream(system(m), value(kit.package()))

    def open_mark(m: Path) -> bytes:
        return stream(system(m), pickle.MARK, value(kit.package()))

    def underflow(m: Path) -> bytes:
        return stream(pickle.TUPLE3)

    def no_mark(m: Path) -> bytes:
        return stream(pickle.TUPLE)

    def appends_without_list(m: Path) -> bytes:
        return stream(pickle.MARK, pickle.APPENDS)

    def second_proto(m: Path) -> bytes:
        return (
            kit.proto(4) + name("os", "system") + kit.proto(2) + args(shell(m)) + pickle.REDUCE + pickle.STOP
        )

    def proto_in_the_middle(m: Path) -> bytes:
        return inside(kit.proto(5) + system(m))

    def future_proto(m: Path) -> bytes:
        return stream(system(m), protocol=6)

    def early_proto(m: Path) -> bytes:
        return stream(system(m), protocol=0)

    def two_pickles(m: Path) -> bytes:
        return dumped(kit.package()) + stream(system(m))

    def bytes_after(m: Path) -> bytes:
        return dumped(kit.package()) + b"\x00" * 64

    def newline_after(m: Path) -> bytes:
        return dumped(kit.package()) + b"\n"

    def empty_then_payload(m: Path) -> bytes:
        return pickle.NONE + pickle.STOP + stream(system(m))

    return [
        Entry("stack-popped", "the result of a call is dropped, an honest package returned", popped,
              advisory="fickling GHSA-mxhj-88fx-4pcv"),
        Entry("stack-popped-mark", "POP_MARK drops the result of a call", popped_mark),
        Entry("stack-duplicated", "DUP", duplicated),
        Entry("stack-pop-mark-trick", "POP on a MARK", pop_takes_the_mark),
        Entry("stack-left-over", "values are left on the stack at STOP", left_over),
        Entry("stack-open-mark", "a MARK is left open at STOP", open_mark),
        Entry("stack-underflow", "TUPLE3 on an empty stack", underflow, effect="none"),
        Entry("stack-no-mark", "TUPLE without MARK", no_mark, effect="none"),
        Entry("stack-no-list", "APPENDS without a list", appends_without_list, effect="none"),
        Entry("proto-twice", "a second PROTO after the first opcode", second_proto),
        Entry("proto-inside", "PROTO in the middle", proto_in_the_middle),
        Entry("proto-6", "a protocol that does not exist", future_proto, effect="none"),
        Entry("proto-0", "PROTO 0, which no pickler writes", early_proto),
        Entry("after-second-pickle", "an honest pickle, and a second one behind it", two_pickles, rule="DP403",
              effect="none"),
        Entry("after-zeros", "zeros behind an honest pickle", bytes_after, rule="DP403", effect="none"),
        Entry("after-newline", "one newline behind an honest pickle", newline_after, rule="DP403", effect="none"),
        Entry("after-none", "None first, the payload behind it", empty_then_payload, effect="none"),
    ]  # fmt: skip


def _frame(body: bytes, size: int | None = None) -> bytes:
    return pickle.FRAME + struct.pack("<Q", len(body) if size is None else size) + body


def _frames() -> list[Entry]:
    def short(m: Path) -> bytes:
        """The frame ends within the call; a reader that skips frames sees another stream."""
        body = system(m) + pickle.STOP
        return kit.proto(4) + _frame(body, 5)

    def long(m: Path) -> bytes:
        body = system(m) + pickle.STOP
        return kit.proto(4) + _frame(body, len(body) + 1000)

    def huge(m: Path) -> bytes:
        return kit.proto(4) + _frame(system(m) + pickle.STOP, 1 << 62)

    def negative(m: Path) -> bytes:
        return kit.proto(4) + pickle.FRAME + struct.pack("<q", -1) + system(m) + pickle.STOP

    def nested(m: Path) -> bytes:
        return kit.proto(4) + _frame(_frame(system(m)) + pickle.STOP)

    def empty(m: Path) -> bytes:
        return kit.proto(4) + _frame(b"") + system(m) + pickle.STOP

    def across_text(m: Path) -> bytes:
        body = text("x" * 40)
        return kit.proto(4) + _frame(body + pickle.STOP, 20)

    def hidden_by_a_frame(m: Path) -> bytes:
        """A frame that says it holds the rest ends before STOP; the payload stands outside of it."""
        body = value(kit.package())
        return kit.proto(4) + _frame(body) + system(m) + pickle.STOP

    def cut(m: Path) -> bytes:
        return kit.proto(4) + pickle.FRAME + b"\x10\x00"

    return [
        Entry("frame-short", "a frame ends before its opcodes do", short, effect="runs"),
        Entry("frame-long", "a frame reaches beyond the file", long, effect="none"),
        Entry("frame-huge", "a frame of 2**62 bytes", huge, effect="none"),
        Entry("frame-negative", "a frame of -1 bytes", negative, effect="none"),
        Entry("frame-nested", "a frame within a frame", nested, effect="runs"),
        Entry("frame-empty", "an empty frame, then the payload outside", empty),
        Entry("frame-across", "a frame ends within a string", across_text, effect="none"),
        Entry("frame-outside", "the payload stands behind a frame that holds the package", hidden_by_a_frame),
        Entry("frame-cut", "the file ends within a FRAME opcode", cut, effect="none"),
    ]  # fmt: skip


def entries() -> list[Entry]:
    """Every entry of this class."""
    return [*_old_calls(), *_memo(), *_stack(), *_frames()]
