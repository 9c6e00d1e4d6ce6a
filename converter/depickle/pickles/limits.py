# SPDX-License-Identifier: Apache-2.0
"""Every bound of the gate, with its unit and its reason, so that no file can take the host's memory or time."""

from __future__ import annotations

__all__ = [
    "BULK_BYTES",
    "CHECK_EVERY_BYTES",
    "MAX_DECOMPRESSED_BYTES",
    "MAX_DECOMPRESSION_RATIO",
    "MAX_DEPTH",
    "MAX_DIMENSIONS",
    "MAX_EXPANDED",
    "MAX_FILE_BYTES",
    "MAX_FINDINGS",
    "MAX_INSTRUCTION_BYTES",
    "MAX_JSON_BYTES",
    "MAX_LONG_BYTES",
    "MAX_LZMA_MEMORY_BYTES",
    "MAX_MARKS",
    "MAX_NODES",
    "MAX_NUMBER_CHARS",
    "MAX_TUPLE_KEYS",
    "MIN_DECOMPRESSED_BYTES",
]

#: Bytes of a file. The largest honest forest met is under 700 MB; the gate holds the file and no copy of it.
MAX_FILE_BYTES = 1 << 30

#: Bytes after decompression: what a compressed file may ask of memory before anything is known about it.
MAX_DECOMPRESSED_BYTES = 1 << 29

#: Times the compressed size; honest models reach 40 (sparse one-hot coefficients), bombs begin at 1000.
MAX_DECOMPRESSION_RATIO = 200

#: Bytes that any compressed file may expand to, whatever its ratio: small models of constant arrays compress well.
MIN_DECOMPRESSED_BYTES = 1 << 24

#: Bytes of memory that the LZMA decoder may use; `xz -9` needs 65 MiB.
MAX_LZMA_MEMORY_BYTES = 1 << 27

#: Bytes of the stream that are not the payload of a long string or array. A one-byte opcode costs up to 50 bytes
#: of memory and 0.1 µs, so this bounds both; a vocabulary of 400,000 words has 12 MB of them.
MAX_INSTRUCTION_BYTES = 1 << 24

#: Payloads of at least this many bytes are not counted as instructions.
BULK_BYTES = 256

#: Units of work in one file: lists, dicts, tuples and records (about 250 bytes and 1 µs each), and whatever else
#: takes as long: names, calls, text opcodes, keys that are no text, containers fetched from the memo. A forest of
#: a thousand trees has 100,000.
MAX_NODES = 1_000_000

#: Containers in the graph once every shared one is written out at each place: 150 lists that each hold the one
#: before fifty times would never end for a reader that does not remember what it saw.
MAX_EXPANDED = 5_000_000

#: Bytes of an XGBoost model as JSON text, which Python reads at 15 MB/s; the form since 1.6 is UBJSON.
MAX_JSON_BYTES = 1 << 25

#: Bytes of the stream between two looks at the bounds above.
CHECK_EVERY_BYTES = 1 << 18

#: Levels of nesting; honest models stay under 40, and every reader of the graph may count on this.
MAX_DEPTH = 200

#: Open MARKs; honest streams nest no deeper than their graph.
MAX_MARKS = MAX_DEPTH * 3

#: Bytes of a long integer; PCG64 states are 16, and Python's int-to-text limit starts at 1,785.
MAX_LONG_BYTES = 256

#: Characters of a number written as text (protocols 0 and 1); 256 bytes are 617 digits.
MAX_NUMBER_CHARS = 640

#: Dict keys and set members that are tuples: their hash can be forged, so many of them would be quadratic.
MAX_TUPLE_KEYS = 2000

#: Axes of an array; numpy 1 allows 32.
MAX_DIMENSIONS = 32

#: Findings kept for one file; a hostile file must not fill a report.
MAX_FINDINGS = 50
