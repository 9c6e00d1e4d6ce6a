# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E501  (an entry of a table reads best on its line)
"""Lengths that lie, numbers that are no numbers, nesting, sharing without end, and files that cost time or memory."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

from . import kit
from .kit import Effect, Entry, args, call, inside, many, name, stream, text

__all__ = ["entries"]


def _malformed() -> list[Entry]:
    def entry(stem: str, technique: str, body: bytes, effect: Effect = "none", *, protocol: int = 4) -> Entry:
        return Entry(f"length-{stem}", technique, lambda m: stream(body, protocol=protocol), effect=effect)

    q, i = struct.Struct("<Q").pack, struct.Struct("<I").pack
    return [
        entry("unicode8-huge", "BINUNICODE8 of 2**62 bytes", pickle.BINUNICODE8 + q(1 << 62) + b"x"),
        entry("unicode8-wraps", "BINUNICODE8 whose end wraps around 2**64", pickle.BINUNICODE8 + q((1 << 64) - 8) + b"x"),
        entry("bytes8-huge", "BINBYTES8 of 2**62 bytes", pickle.BINBYTES8 + q(1 << 62) + b"x", "exhausts"),
        entry("bytes8-wraps", "BINBYTES8 whose end wraps around", pickle.BINBYTES8 + q((1 << 64) - 4)),
        entry("bytearray8-huge", "BYTEARRAY8 of 2**40 bytes, which the reader may allocate first",
              pickle.BYTEARRAY8 + q(1 << 40), "exhausts", protocol=5),
        entry("bytes-past-end", "BINBYTES beyond the file", pickle.BINBYTES + i(0x7FFFFFFF) + b"x"),
        entry("unicode-past-end", "BINUNICODE beyond the file", pickle.BINUNICODE + i(0xFFFFFFFF) + b"x"),
        entry("short-past-end", "SHORT_BINUNICODE beyond the file", pickle.SHORT_BINUNICODE + b"\xff"),
        entry("short-bytes-past-end", "SHORT_BINBYTES beyond the file", pickle.SHORT_BINBYTES + b"\xff"),
        entry("long4-negative", "LONG4 of -1 bytes", pickle.LONG4 + struct.pack("<i", -1)),
        entry("long4-huge", "LONG4 of 2**31-1 bytes", pickle.LONG4 + i(0x7FFFFFFF) + b"\x01"),
        entry("long4-large", "LONG4 of a megabyte", pickle.LONG4 + i(1 << 20) + b"\x7f" * (1 << 20)),
        entry("string-negative", "BINSTRING of -1 bytes", pickle.BINSTRING + struct.pack("<i", -1)),
        entry("string-quotes", "STRING without its quotes", pickle.STRING + b"os\n"),
        entry("string-escape", "STRING with a broken escape", pickle.STRING + b"'\\x'\n"),
        entry("unterminated-unicode", "UNICODE without its newline", pickle.UNICODE + b"abc"),
        entry("unterminated-global", "GLOBAL without its second line", pickle.GLOBAL + b"os\nsystem"),
        entry("utf8", "text that is no UTF-8", pickle.SHORT_BINUNICODE + b"\x02\xc3\x28"),
        entry("surrogates", "text of lone surrogates, which no report can encode", text("\ud800\udfff")),
        entry("surrogates-text", "lone surrogates by the escapes of protocol 0", pickle.UNICODE + b"\\ud800\n"),
        entry("int-text", "INT that is no number", pickle.INT + b"0x41\n"),
        entry("int-digits", "INT of 100,000 digits, which takes quadratic time", pickle.INT + b"7" * 100_000 + b"\n"),
        entry("long-digits", "LONG of 1,000,000 digits", pickle.LONG + b"7" * 1_000_000 + b"L\n"),
        entry("int-underscore", "INT with underscores", pickle.INT + b"1_000\n"),
        entry("int-arabic", "INT in Arabic digits", pickle.INT + "٤٢\n".encode()),
        entry("float-text", "FLOAT that is no number", pickle.FLOAT + b"one\n"),
        entry("float-space", "FLOAT with spaces", pickle.FLOAT + b" 1.0 \n"),
        entry("unknown-opcode", "a byte that is no opcode", b"\xff"),
        entry("cut-argument", "the file ends within an argument", pickle.BINFLOAT + b"\x00\x00"),
        entry("no-stop-at-all", "a lone opcode, and no value for STOP", b""),
    ]  # fmt: skip


def _without_stop() -> list[Entry]:
    return [
        Entry(
            "length-no-stop",
            "STOP is missing, the payload has run by then",
            lambda m: inside(kit.system(m))[:-1],
        ),
        Entry("length-empty", "an empty file", lambda m: b"", effect="none"),
        Entry("length-one-byte", "only the first byte of PROTO", lambda m: b"\x80", effect="none"),
        Entry("length-proto-only", "only PROTO", lambda m: b"\x80\x04", effect="none"),
        Entry("length-stop-only", "only STOP", lambda m: b".", effect="none"),
    ]


def _nesting() -> list[Entry]:
    def lists(depth: int) -> kit.Builder:
        return lambda m: stream(pickle.EMPTY_LIST * depth + pickle.APPEND * (depth - 1))

    def tuples(m: Path) -> bytes:
        return stream(pickle.NONE + pickle.TUPLE1 * 1_000_000)

    def marks(m: Path) -> bytes:
        return stream(pickle.MARK * 1_000_000 + pickle.TUPLE * 1_000_000)

    def dicts(m: Path) -> bytes:
        return stream((pickle.EMPTY_DICT + pickle.NONE) * 100_000 + pickle.NONE + pickle.SETITEM * 100_000)

    def records(m: Path) -> bytes:
        cls = name("sklearn.preprocessing._data", "StandardScaler")
        opened = cls + pickle.EMPTY_TUPLE + pickle.NEWOBJ + pickle.EMPTY_DICT + text("next")
        return stream(opened * 50_000 + pickle.NONE + (pickle.SETITEM + pickle.BUILD) * 50_000)

    def laughs(levels: int) -> kit.Builder:
        """Ten references a level: 10**levels items when someone walks them."""

        def build(m: Path) -> bytes:
            body = pickle.EMPTY_LIST + pickle.MEMOIZE + pickle.MARK + text("lol") * 10 + pickle.APPENDS
            for level in range(levels):
                ten = (pickle.BINGET + bytes([level])) * 10
                body += pickle.EMPTY_LIST + pickle.MEMOIZE + pickle.MARK + ten + pickle.APPENDS
            return stream(body, *([pickle.TUPLE2] * levels))

        return build

    def tuple_key_laughs(m: Path) -> bytes:
        """A tuple of shared tuples as a dict key: hashing it takes 2**60 steps."""
        body = pickle.NONE + pickle.TUPLE1 + pickle.MEMOIZE
        for level in range(60):
            body += pickle.BINGET + bytes([level]) + pickle.TUPLE2 + pickle.MEMOIZE
        return inside(pickle.EMPTY_DICT + body + pickle.NONE + pickle.SETITEM)

    def repr_laughs(m: Path) -> bytes:
        """Twenty shared tuples in a row inside each other, where a report would print them."""
        body = text("x" * 50) + pickle.TUPLE1 + pickle.MEMOIZE
        for level in range(28):
            body += (pickle.BINGET + bytes([level])) + pickle.TUPLE2 + pickle.MEMOIZE
        return inside(body, key="symbol")

    def cycle_by_reduce(m: Path) -> bytes:
        """An object whose arguments hold itself: it can only be met unfinished."""
        arguments = pickle.EMPTY_LIST + pickle.MEMOIZE + pickle.BINGET + b"\x00" + pickle.APPEND
        return inside(call(name("collections", "OrderedDict"), many(arguments)))

    def cycle_as_key(m: Path) -> bytes:
        record = kit.new(name("sklearn.preprocessing._data", "StandardScaler")) + pickle.MEMOIZE
        return inside(
            record + pickle.EMPTY_DICT + pickle.BINGET + b"\x00" + pickle.NONE + pickle.SETITEM + pickle.BUILD
        )

    return [
        Entry("deep-lists", "100,000 lists inside each other", lists(100_000), effect="none"),
        Entry("deep-lists-million", "10,000,000 lists inside each other", lists(10_000_000), effect="none"),
        Entry("deep-tuples", "1,000,000 tuples inside each other", tuples, effect="none"),
        Entry("deep-marks", "1,000,000 open marks", marks, effect="none"),
        Entry("deep-dicts", "100,000 dicts inside each other", dicts, effect="none"),
        Entry("deep-records", "50,000 objects in each other's state", records, effect="none"),
        Entry("laughs-lists", "a billion laughs by memo", laughs(9), effect="none"),
        Entry("laughs-lists-far", "a googol of laughs by memo", laughs(100), effect="none"),
        Entry("laughs-tuple-key", "a dict key that takes 2**60 steps to hash", tuple_key_laughs, effect="exhausts"),
        Entry("laughs-repr", "shared tuples under a key that reports print", repr_laughs, rule="DP4", effect="lies",
              refused_by="model", probe="len(repr(loaded['symbol'])) > 10**8"),
        Entry("cycle-reduce", "a call whose argument holds itself", cycle_by_reduce, effect="none"),
        Entry("cycle-key", "an unfinished object as a key of its own state", cycle_as_key, effect="none"),
    ]  # fmt: skip


def _costs() -> list[Entry]:
    def bytes_copied(m: Path) -> bytes:
        """One megabyte of text, turned into bytes again and again: memory grows by the square."""
        body = (
            text("x" * (1 << 20))
            + pickle.MEMOIZE
            + text("latin1")
            + pickle.TUPLE2
            + pickle.MEMOIZE
            + pickle.MARK
        )
        copies = (name("_codecs", "encode") + pickle.BINGET + b"\x01" + pickle.REDUCE) * 20_000
        return stream(body + copies + pickle.LIST + pickle.TUPLE2)

    def bytearray_of_a_size(m: Path) -> bytes:
        return inside(call(name("builtins", "bytearray"), args(10**12)))

    def bytes_of_a_size(m: Path) -> bytes:
        return inside(call(name("builtins", "bytes"), args(10**12)))

    def range_to_set(m: Path) -> bytes:
        return inside(call(name("builtins", "set"), many(call(name("builtins", "range"), args(10**12)))))

    def list_of_range(m: Path) -> bytes:
        return inside(call(name("builtins", "list"), many(call(name("builtins", "range"), args(10**12)))))

    def power(m: Path) -> bytes:
        return inside(call(name("builtins", "pow"), args(10, 10**9)))

    def many_names(m: Path) -> bytes:
        return stream(pickle.MARK + b"".join(name(f"m{n}", "x") for n in range(300_000)) + pickle.LIST)

    def many_findings(m: Path) -> bytes:
        return stream(pickle.MARK + kit.system(m) * 20_000 + pickle.LIST)

    def many_records(m: Path) -> bytes:
        cls = name("sklearn.preprocessing._data", "StandardScaler") + pickle.MEMOIZE
        record = pickle.BINGET + b"\x00" + pickle.EMPTY_TUPLE + pickle.NEWOBJ
        return stream(cls, pickle.MARK + record * 3_000_000 + pickle.LIST + pickle.TUPLE2)

    def many_nones(m: Path) -> bytes:
        return stream(pickle.MARK + pickle.NONE * 60_000_000 + pickle.TUPLE)

    def many_floats(m: Path) -> bytes:
        return stream(pickle.MARK + (pickle.BININT2 + b"\x39\x30") * 14_000_000 + pickle.TUPLE)

    def many_scalars(m: Path) -> bytes:
        """Numpy scalars as keys: each is decoded to be hashed."""
        head = name("numpy._core.multiarray", "scalar") + pickle.MEMOIZE
        dtype = call(name("numpy", "dtype"), args("f8", False, True)) + pickle.MEMOIZE
        dtype += args(3, "<", None, None, None, -1, -1, 0) + pickle.BUILD
        keys = b"".join(
            pickle.BINGET + b"\x00" + pickle.BINGET + b"\x01" + pickle.SHORT_BINBYTES + b"\x08"
            + struct.pack("<d", float(n)) + pickle.TUPLE2 + pickle.REDUCE + pickle.NONE
            for n in range(1_100_000)
        )  # fmt: skip
        return stream(head, dtype, pickle.EMPTY_DICT + pickle.MARK + keys + pickle.SETITEMS + pickle.TUPLE3)

    def many_sets(m: Path) -> bytes:
        """One set that is added to member by member: checking it anew each time is quadratic."""
        members = b"".join(
            pickle.MARK + pickle.BININT + struct.pack("<i", n) + pickle.ADDITEMS for n in range(300_000)
        )
        return stream(pickle.EMPTY_SET + members, pickle.MARK + pickle.BININT1 + b"\x07" + pickle.ADDITEMS)

    def colliding_keys(m: Path) -> bytes:
        """Whole numbers whose hashes are equal, -1 and the multiples of 2**61-1 among them."""
        numbers = [(n << 61) - n for n in range(-4, 8)]
        keys = b"".join(
            pickle.LONG1 + bytes([10]) + n.to_bytes(10, "little", signed=True) + pickle.NONE for n in numbers
        )
        return inside(pickle.EMPTY_DICT + pickle.MARK + keys * 30_000 + pickle.SETITEMS)

    def colliding_tuples(m: Path) -> bytes:
        keys = b"".join(
            pickle.BINFLOAT
            + struct.pack(">d", 2.0 ** (61 * (n % 16)) * (1 + n // 16))
            + pickle.TUPLE1
            + pickle.NONE
            for n in range(200_000)
        )
        return inside(pickle.EMPTY_DICT + pickle.MARK + keys + pickle.SETITEMS)

    return [
        Entry("cost-copies", "the same bytes copied 20,000 times", bytes_copied, effect="exhausts"),
        Entry("cost-bytearray", "bytearray(10**12)", bytearray_of_a_size, effect="exhausts"),
        Entry("cost-bytes", "bytes(10**12)", bytes_of_a_size, effect="exhausts"),
        Entry("cost-set-of-range", "set(range(10**12))", range_to_set, effect="exhausts"),
        Entry("cost-list-of-range", "list(range(10**12))", list_of_range, effect="exhausts"),
        Entry("cost-power", "pow(10, 10**9)", power, effect="exhausts"),
        Entry("cost-names", "300,000 names of modules that do not exist", many_names, effect="none"),
        Entry("cost-findings", "20,000 calls of os.system: a report without end", many_findings),
        Entry("cost-records", "3,000,000 objects in 12 MB", many_records, effect="lies"),
        Entry("cost-nones", "60,000,000 values of one byte each", many_nones, effect="lies"),
        Entry("cost-integers", "14,000,000 numbers in 42 MB", many_floats, effect="lies"),
        Entry("cost-scalar-keys", "1,100,000 numpy scalars as keys", many_scalars, rule="DP4", effect="lies"),
        Entry("cost-set-by-member", "a set that grows by one, 300,000 times", many_sets, effect="lies"),
        Entry("cost-colliding-keys", "keys of one hash, repeated", colliding_keys, effect="lies"),
        Entry("cost-colliding-tuples", "200,000 tuple keys of few hashes", colliding_tuples, effect="lies"),
    ]  # fmt: skip


def entries() -> list[Entry]:
    """Every entry of this class."""
    return [*_malformed(), *_without_stop(), *_nesting(), *_costs()]
