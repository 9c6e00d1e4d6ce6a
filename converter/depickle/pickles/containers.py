# SPDX-License-Identifier: Apache-2.0
"""What a file is, decided by its content: the one pickle stream in it, bounded, or a named refusal.

* The name of the file is never asked.
* One layer of compression, whose output is bounded before it is produced.
* Nothing may follow the end of the compressed data.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from typing import NamedTuple, Protocol

from .limits import (
    MAX_DECOMPRESSED_BYTES,
    MAX_DECOMPRESSION_RATIO,
    MAX_FILE_BYTES,
    MAX_LZMA_MEMORY_BYTES,
    MIN_DECOMPRESSED_BYTES,
)

__all__ = ["ContainerError", "Contents", "open_container"]


class ContainerError(Exception):
    """Internal: the file holds no stream that the gate may read; becomes a finding."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule
        self.message = message


class Contents(NamedTuple):
    """The pickle stream of a file and the compression it came out of (empty where none)."""

    stream: bytes
    compression: str


class _Decompressor(Protocol):
    """What bz2, lzma and lz4 share."""

    @property
    def eof(self) -> bool:
        """True once the end was read."""

    @property
    def unused_data(self) -> bytes | None:
        """What followed the end."""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """At most `max_length` bytes of output."""


#: First bytes of what is not a pickle, with the name to refuse it by. The longest match comes first.
_OTHER_FORMATS: tuple[tuple[bytes, str], ...] = (
    (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "a PyTorch checkpoint of the old format"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras)"),
    (b"\x93NUMPY", "a numpy array file (.npy)"),
    (b"\x28\xb5\x2f\xfd", "zstandard data"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x7fELF", "an executable"),
    (b"MZ", "an executable"),
    (b"#!", "a script"),
    (b"GGUF", "a GGUF model"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"SQLite format 3", "an SQLite database"),
    (b"%PDF", "a PDF"),
    (b"tree\nversion=", "a LightGBM model text"),
    (b"CBM1", "a CatBoost model"),
    (b"{L\x00\x00", "an XGBoost UBJSON model"),
    (b"binf", "an XGBoost model of the old binary format"),
    (b"ZF", "a joblib file of before 0.10"),
)

#: First bytes that a pickle of protocol 0 or 1 can begin with.
_TEXT_STARTS = frozenset(b"(]}cVIFLNGKMJXSTUPQ)ilpqtd.")


def open_container(data: bytes) -> Contents:
    """The pickle stream in `data`.

    Args:
        data: the whole file.

    Raises:
        ContainerError: with the rule it breaks: DP401, DP402, DP403, DP404, DP405, DP406 or DP407.
    """
    if len(data) > MAX_FILE_BYTES:
        raise ContainerError("DP404", f"the file has {len(data)} bytes; at most {MAX_FILE_BYTES} are read")
    if not data:
        raise ContainerError("DP401", "the file is empty")
    compression = _compression(data)
    if not compression:
        _refuse_other(data)
        return Contents(data, "")
    stream = _decompress(data, compression)
    if not stream:
        raise ContainerError("DP401", f"the {compression} data is empty")
    inner = _compression(stream)
    if inner:
        raise ContainerError("DP407", f"{inner} inside {compression}")
    _refuse_other(stream)
    return Contents(stream, compression)


def _compression(data: bytes) -> str:
    if data[0] == 0x78 and len(data) > 1 and ((data[0] << 8) | data[1]) % 31 == 0:
        return "zlib"
    for magic, name in (
        (b"\x1f\x8b", "gzip"),
        (b"BZh", "bz2"),
        (b"\xfd7zXZ\x00", "xz"),
        (b"\x5d\x00\x00", "lzma"),
        (b"\x04\x22\x4d\x18", "lz4"),
    ):
        if data.startswith(magic):
            return name
    return ""


def _refuse_other(data: bytes) -> None:
    first = data[0]
    if first == 0x80 and len(data) > 1 and 2 <= data[1] <= 5 and not data.startswith(_OTHER_FORMATS[0][0]):
        return
    for magic, name in _OTHER_FORMATS:
        if data.startswith(magic):
            kind = _zip_kind(data) if magic == b"PK\x03\x04" else name
            raise ContainerError("DP402", f"this is {kind}")
    if data[257:262] == b"ustar":
        raise ContainerError("DP402", "this is a tar archive")
    if first == 0x80:
        number = data[1] if len(data) > 1 else "none"
        raise ContainerError("DP401", f"it begins like a pickle of protocol {number}; 0 to 5 exist")
    if first == 0x08 and len(data) > 2 and data[1] < 64 and data[2] in (0x12, 0x1A, 0x3A, 0x42):
        raise ContainerError("DP402", "this is an ONNX model or another protocol buffer")
    if len(data) > 9 and data[8:9] == b"{" and int.from_bytes(data[:8], "little") < len(data):
        raise ContainerError("DP402", "this is a safetensors file")
    if data.lstrip()[:1] in (b"{", b"<") and first != 0x7D:
        raise ContainerError("DP402", "this is text (JSON, XML or HTML)")
    if first not in _TEXT_STARTS:
        raise ContainerError("DP401", f"it begins with the byte 0x{first:02x}, and no pickle does")


def _zip_kind(data: bytes) -> str:
    if b"schema.json" in data[-4096:] or b"schema.json" in data[:256]:
        return "a skops file"
    if b"/data.pkl" in data[:256]:
        return "a PyTorch checkpoint"
    if b".npy" in data[:128]:
        return "a numpy archive (.npz)"
    return "a zip archive"


def _decompress(data: bytes, name: str) -> bytes:
    bound = min(MAX_DECOMPRESSED_BYTES, max(MIN_DECOMPRESSED_BYTES, MAX_DECOMPRESSION_RATIO * len(data)))
    try:
        if name in ("zlib", "gzip"):
            inflater = zlib.decompressobj(wbits=31 if name == "gzip" else 15)
            stream = inflater.decompress(data, bound + 1)
            over, ended = bool(inflater.unconsumed_tail) and len(stream) > bound, inflater.eof
            rest = inflater.unused_data
        else:
            decompressor = _decompressor(name)
            stream = decompressor.decompress(data, max_length=bound + 1)
            over, ended = len(stream) > bound, decompressor.eof
            rest = decompressor.unused_data or b""
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, RuntimeError, MemoryError) as error:
        raise ContainerError("DP405", f"the {name} data is damaged: {error}") from error
    if over or len(stream) > bound:
        raise ContainerError("DP404", f"{len(data)} bytes of {name} expand beyond {bound} bytes")
    if not ended:
        raise ContainerError("DP405", f"the {name} data ends early")
    if rest:
        raise ContainerError("DP403", f"{len(rest)} bytes follow the end of the {name} data")
    return stream


def _decompressor(name: str) -> _Decompressor:
    if name == "bz2":
        return bz2.BZ2Decompressor()
    if name in ("xz", "lzma"):
        kind = lzma.FORMAT_XZ if name == "xz" else lzma.FORMAT_ALONE
        return lzma.LZMADecompressor(format=kind, memlimit=MAX_LZMA_MEMORY_BYTES)
    try:
        import lz4.frame
    except ImportError as error:
        raise ContainerError("DP406", "the file is compressed with lz4") from error
    decompressor: _Decompressor = lz4.frame.LZ4FrameDecompressor()
    return decompressor
