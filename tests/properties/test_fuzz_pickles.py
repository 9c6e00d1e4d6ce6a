# SPDX-License-Identifier: Apache-2.0
"""The gate answers anything with a verdict: mutated files, arbitrary bytes, and streams of arbitrary opcodes."""

from __future__ import annotations

import pickletools
import struct
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from depickle.pickles import Verdict, scan

from .fuzz_pickles import check, mutant, run, seeds

MUTANTS = 2_000


@pytest.fixture(scope="module", autouse=True)
def made() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tiny models do not converge
        seeds()


def test_mutated_honest_and_hostile_files_give_verdicts_only():
    verdicts, offences = run(20250108, range(MUTANTS))
    assert offences == []
    assert verdicts.total() == MUTANTS
    assert verdicts["refused"] > 200
    assert verdicts["unreadable"] > 200
    assert verdicts.total() > verdicts["refused"] + verdicts["unreadable"]


def test_a_mutant_can_be_made_again():
    assert mutant(5, 17).data == mutant(5, 17).data
    assert mutant(5, 17).data != mutant(5, 18).data


def test_the_seeds_are_honest_and_hostile():
    accepted = sum(scan(data).verdict is Verdict.ACCEPTED for _, data in seeds())
    assert accepted > 50
    assert len(seeds()) - accepted > 500


_ARGUMENTS = {
    "uint1": st.integers(0, 255).map(lambda n: bytes([n])),
    "uint2": st.integers(0, 2**16 - 1).map(struct.Struct("<H").pack),
    "uint4": st.integers(0, 2**32 - 1).map(struct.Struct("<I").pack),
    "int4": st.integers(-(2**31), 2**31 - 1).map(struct.Struct("<i").pack),
    "uint8": st.integers(0, 2**64 - 1).map(struct.Struct("<Q").pack),
    "float8": st.floats().map(struct.Struct(">d").pack),
    "string1": st.binary(max_size=20).map(lambda data: bytes([len(data)]) + data),
    "string4": st.binary(max_size=20).map(lambda data: struct.pack("<I", len(data)) + data),
    "string8": st.binary(max_size=20).map(lambda data: struct.pack("<Q", len(data)) + data),
    "line": st.sampled_from([b"0\n", b"1\n", b"-1\n", b"os\n", b"nan\n", b"1L\n", b"\\ud800\n", b"\n"]),
    "pair": st.sampled_from(
        [b"os\nsystem\n", b"numpy\ndtype\n", b"sklearn.pipeline\nPipeline\n", b"__main__\nX\n"]
    ),
}
_KINDS = {
    "uint1": "uint1", "uint2": "uint2", "uint4": "uint4", "int4": "int4", "uint8": "uint8", "float8": "float8",
    "string1": "string1", "bytes1": "string1", "unicodestring1": "string1", "long1": "string1",
    "string4": "string4", "bytes4": "string4", "unicodestring4": "string4", "long4": "string4",
    "bytes8": "string8", "unicodestring8": "string8", "bytearray8": "string8",
    "stringnl_noescape_pair": "pair",
}  # fmt: skip


def _opcode(opcode: pickletools.OpcodeInfo) -> st.SearchStrategy[bytes]:
    code = opcode.code.encode("latin-1")
    if opcode.arg is None:
        return st.just(code)
    return _ARGUMENTS[_KINDS.get(opcode.arg.name, "line")].map(lambda argument: code + argument)


_STREAMS = st.lists(st.one_of([_opcode(opcode) for opcode in pickletools.opcodes]), max_size=40).map(b"".join)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(protocol=st.integers(0, 6), body=_STREAMS)
def test_streams_of_well_formed_opcodes_give_verdicts_only(protocol, body):
    check((b"\x80" + bytes([protocol]) if protocol else b"") + body + b".")


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300))
def test_arbitrary_bytes_give_verdicts_only(data):
    check(data)
