# SPDX-License-Identifier: Apache-2.0
"""Bad inputs, each an English sentence, each refused by its own rule, none of them run."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import pickle
import struct
import sys
import zipfile
import zlib

import joblib
import numpy as np
import pytest

from depickle.errors import GateRefusedError, UnsupportedModelError
from depickle.pickles import Severity, Verdict, extended_policy, open_package, parse_policy_file, scan, vet
from depickle.pickles.arguments import RULES_BY_NAME
from depickle.pickles.policy import KNOWN_RULES, default_policy, encode_policy_file, shipped_families
from depickle.pickles.rules import RULES
from depickle_runtime.errors import ConfigurationError

from .pickle_samples import models


class Calls:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def short(text: str) -> bytes:
    data = text.encode()
    return b"\x8c" + bytes([len(data)]) + data


def named(module: str, name: str) -> bytes:
    return short(module) + short(name) + b"\x93"


def stream(body: bytes) -> bytes:
    return b"\x80\x04" + body + b"."


def call(module: str, name: str, arguments: bytes = b")") -> bytes:
    return named(module, name) + arguments + b"R"


SCALER = named("sklearn.preprocessing._data", "StandardScaler") + b")\x81"
DTYPE = call("numpy", "dtype", short("f8") + b"\x89\x88\x87")
FLOAT = DTYPE + b"(K\x03" + short("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
EMPTY = call("numpy._core.multiarray", "_reconstruct", named("numpy", "ndarray") + b"K\x00\x85C\x01b\x87")


def array_of(shape: bytes, dtype: bytes, data: bytes) -> bytes:
    return EMPTY + b"(K\x01" + shape + dtype + b"\x89C" + bytes([len(data)]) + data + b"tb"


def dtype_with(code: str, state: bytes) -> bytes:
    return array_of(b"K\x01\x85", call("numpy", "dtype", short(code) + b"\x89\x88\x87") + state, b"\0" * 8)


CHECK = named("sklearn.utils.validation", "check_array")
WORDS = (
    b"}(" + short("dtype") + b"]" + named("numpy", "float64") + b"a" + short("ensure_all_finite") + b"\x89u"
)


def partial(
    function: bytes = CHECK,
    again: bytes = CHECK,
    args: bytes = b")",
    words: bytes = WORDS,
    space: bytes = b"N",
) -> bytes:
    """The partial of HistGradientBoosting's `_preprocessor`, with one part exchanged."""
    return call("functools", "partial", function + b"\x85") + b"(" + again + args + words + space + b"tb"


def words(dtypes: bytes, name: str, value: bytes) -> bytes:
    return b"}(" + short("dtype") + dtypes + short(name) + value + b"u"


SYSTEM = named("os", "system")
F8 = b"]" + named("numpy", "float64") + b"a"
PARTIALS: dict[str, tuple[bytes, str]] = {
    "a partial over os.system": (partial(SYSTEM, SYSTEM), "DP420"),
    "a partial over another function of scikit-learn": (
        partial(*[named("sklearn.utils.validation", "check_X_y")] * 2),
        "DP420",
    ),
    "a partial over check_array under another name": (partial(*[named("sklearn.utils", "check_array")] * 2), "DP420"),
    "a partial over a class": (partial(SCALER, SCALER), "DP420"),
    "a partial over a partial": (partial(partial()), "DP420"),
    "a partial over text": (partial(short("check_array")), "DP420"),
    "a partial with two arguments": (call("functools", "partial", CHECK + b"N\x86"), "DP420"),
    "a partial without arguments": (call("functools", "partial"), "DP420"),
    "a partial whose state swaps the function": (partial(again=SYSTEM), "DP420"),
    "a partial whose state holds a partial": (partial(again=partial()), "DP420"),
    "a partial with arguments in its state": (partial(args=b"K\x01\x85"), "DP420"),
    "a partial with a list of arguments": (partial(args=b"]"), "DP420"),
    "a partial with attributes": (partial(space=b"}" + short("x") + b"Ns"), "DP420"),
    "a partial with special attributes": (partial(space=b"}" + short("__class__") + CHECK + b"s"), "DP420"),
    "a partial with a list for attributes": (partial(space=b"]"), "DP420"),
    "a partial without keywords": (partial(words=b"}"), "DP420"),
    "a partial that never gets its state": (call("functools", "partial", CHECK + b"\x85"), "DP420"),
    "a partial with the state of an object": (
        call("functools", "partial", CHECK + b"\x85") + b"}" + short("func") + CHECK + b"sb",
        "DP420",
    ),
    "a partial with a state of three": (
        call("functools", "partial", CHECK + b"\x85") + CHECK + b")" + WORDS + b"\x87b",
        "DP420",
    ),
    "a partial with its state twice": (partial() + b"(" + CHECK + b")" + WORDS + b"Ntb", "DP430"),
    "a partial of another precision": (
        partial(words=words(b"]" + named("numpy", "float32") + b"a", "ensure_all_finite", b"\x89")),
        "DP420",
    ),
    "a partial with a function for dtype": (partial(words=words(b"]" + SYSTEM + b"a", "x", b"\x89")), "DP420"),
    "a partial that refuses missing values": (partial(words=words(F8, "ensure_all_finite", b"\x88")), "DP420"),
    "a partial with 0 for False": (partial(words=words(F8, "ensure_all_finite", b"K\0")), "DP420"),
    "a partial with another keyword": (partial(words=words(F8, "estimator", SCALER)), "DP420"),
    "a partial with a third keyword": (partial(words=WORDS + short("copy") + b"\x88s"), "DP420"),
    "a partial with both spellings": (partial(words=WORDS + short("force_all_finite") + b"\x89s"), "DP420"),
    "a partial with an OrderedDict": (partial(words=call("collections", "OrderedDict")), "DP420"),
    "a partial whose keywords grow after it took them": (
        b"}\x94(" + short("dtype") + F8 + short("ensure_all_finite") + b"\x89u"
        + short("late") + partial(words=b"h\0") + b"s",
        "DP432",
    ),
    "a partial whose dtypes grow after it took them": (
        F8 + b"\x94" + partial(words=words(b"h\0", "ensure_all_finite", b"\x89")) + b"a",
        "DP432",
    ),
    "a partial whose attributes grow after it took them": (
        b"}\x94" + short("x") + partial(space=b"h\0") + b"s",
        "DP432",
    ),
    "a call of a partial": (partial() + b"]\x85R", "DP415"),
    "a call of a partial without its state": (
        call("functools", "partial", CHECK + b"\x85") + b"]\x85R",
        "DP415",
    ),
    "an item appended to a partial": (partial() + b"Na", "DP432"),
    "a partial created as an object": (named("functools", "partial") + CHECK + b"\x85\x81", "DP420"),
    "functools.partial as data": (SCALER + b"}" + short("copy") + named("functools", "partial") + b"sb", "DP420"),
    "check_array as data": (SCALER + b"}" + short("copy") + CHECK + b"sb", "DP425"),
    "check_array as data beside an honest partial": (
        CHECK + b"\x94" + partial(b"h\0", b"h\0") + b"\x86",
        "DP425",
    ),
    "a state that is also kept elsewhere": (
        b"(" + CHECK + b")" + WORDS + b"Nt\x94" + call("functools", "partial", CHECK + b"\x85") + b"h\0b\x86",
        "DP425",
    ),
    "check_array called": (call("sklearn.utils.validation", "check_array", b"]\x85"), "DP421"),
    "a subclass of partial": (call("sklearn.utils._testing", "partial", CHECK + b"\x85"), "DP421"),
    "the partial of the C module": (call("_functools", "partial", CHECK + b"\x85"), "DP420"),
    "a _reconstructor of partial": (
        call("copyreg", "_reconstructor", named("functools", "partial") + named("builtins", "object") + b"N\x87"),
        "DP420",
    ),
    "a __newobj__ of partial": (call("copyreg", "__newobj__", named("functools", "partial") + b"\x85"), "DP420"),
}  # fmt: skip


INTEGER = DTYPE.replace(b"f8", b"i8") + FLOAT[len(DTYPE) :]
TRIPLET = named("sklearn.impute._iterative", "_ImputerTriplet")
ONE = named("numpy._core.multiarray", "scalar") + INTEGER + b"C\x08" + b"\1" + b"\0" * 7 + b"\x86R"
TWO = array_of(b"K\x02\x85", INTEGER, b"\0" * 16)
TRIPLETS: dict[str, bytes] = {
    "a triplet without arguments": b")",
    "a triplet of two": ONE + TWO + b"\x86",
    "a triplet of four": b"(" + ONE + TWO + SCALER + b"Nt",
    "a triplet around a function": ONE + TWO + SYSTEM + b"\x87",
    "a triplet of floats": ONE + array_of(b"K\x02\x85", FLOAT, b"\0" * 16) + SCALER + b"\x87",
    "a triplet of lists": b"]" + TWO + SCALER + b"\x87",
}


def zipped(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, "{}")
    return file.getvalue()


MINUS = b"J\xff\xff\xff\xff"
REFUSED: dict[str, tuple[bytes, str]] = {
    # containers
    "nothing": (b"", "DP401"),
    "noise": (b"\xee\xff\x00\x01", "DP401"),
    "a pickle of protocol 9": (b"\x80\x09N.", "DP401"),
    "a zip archive": (zipped("a.txt"), "DP402"),
    "a skops file": (zipped("schema.json"), "DP402"),
    "a PyTorch checkpoint": (zipped("model/data.pkl"), "DP402"),
    "an HDF5 file": (b"\x89HDF\r\n\x1a\n" + b"\0" * 20, "DP402"),
    "an ONNX model": (b"\x08\x0a\x12\x04skl2", "DP402"),
    "a JSON text": (b'{"learner": {}}', "DP402"),
    "a numpy file": (b"\x93NUMPY\x01\x00", "DP402"),
    "a joblib file of before 0.10": (b"ZF0x10", "DP402"),
    "bytes after the end": (pickle.dumps(1) + b"x", "DP403"),
    "a second pickle after the first": (pickle.dumps(1) + pickle.dumps(2), "DP403"),
    "bytes after the compressed data": (zlib.compress(pickle.dumps(1)) + b"x", "DP403"),
    "a second gzip member": (gzip.compress(pickle.dumps(1)) * 2, "DP403"),
    "a decompression bomb": (zlib.compress(b"N" * (1 << 25), 9), "DP404"),
    "an xz bomb": (lzma.compress(b"N" * (1 << 25)), "DP404"),
    "half of a compressed file": (zlib.compress(pickle.dumps(list(range(99))))[:-20], "DP405"),
    "a compressed file inside another": (zlib.compress(gzip.compress(pickle.dumps(1))), "DP407"),
    # opcodes
    "a stream without an end": (b"\x80\x04N", "DP410"),
    "an underflow of the stack": (stream(b"\x85"), "DP410"),
    "a text that is not UTF-8": (stream(b"\x8c\x01\xff"), "DP410"),
    "half a surrogate": (stream(b"\x8c\x03\xed\xa0\x80"), "DP410"),
    "a text longer than the file": (b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b".", "DP410"),
    "a number with underscores": (b"I1_0\n.", "DP410"),
    "INST": (b"(Vx\nios\nsystem\n.", "DP411"),
    "OBJ": (b"(cos\nsystem\nVx\no.", "DP411"),
    "EXT1": (stream(b"\x82\x01"), "DP411"),
    "a persistent id": (stream(b"Px\n"), "DP411"),
    "a binary persistent id": (stream(b"K\x01Q"), "DP411"),
    "an out-of-band buffer": (b"\x80\x05\x97.", "DP411"),
    "POP": (stream(b"NN0"), "DP411"),
    "DUP": (stream(b"N2\x86"), "DP411"),
    "text of Python 2": (b"S'x'\n.", "DP411"),
    "PROTO in the middle": (stream(b"\x80\x04N"), "DP411"),
    "NEWOBJ_EX": (stream(named("numpy", "ndarray") + b")}\x92"), "DP411"),
    "a frame beyond the file": (b"\x80\x04\x95" + struct.pack("<Q", 99) + b"N.", "DP412"),
    "a frame that ends inside an opcode": (b"\x80\x04\x95" + struct.pack("<Q", 2) + b"\x8c\x01a.", "DP412"),
    "a frame in a frame": (b"\x80\x04\x95" + struct.pack("<Q", 11) + b"\x95" + struct.pack("<Q", 2) + b"N.", "DP412"),
    "a gap in the memo": (stream(b"Nq\x05"), "DP413"),
    "a memo entry written twice": (stream(b"Nq\x00q\x00"), "DP413"),
    "a memo entry that does not exist": (stream(b"h\x07"), "DP410"),
    "ten thousand nested lists": (stream(b"]" * 10000 + b"a" * 9999), "DP414"),
    "ten thousand nested tuples": (stream(b"N" + b"\x85" * 10000), "DP414"),
    "a number of a megabyte": (b"\x80\x04\x8b" + struct.pack("<I", 1 << 20) + b"\1" * (1 << 20) + b".", "DP414"),
    "a deep graph built through the memo": (
        stream(b"(" + b"]q\x00" + b"".join(b"]h" + bytes([i]) + b"aq" + bytes([i + 1]) for i in range(250)) + b"l"),
        "DP414",
    ),
    "two values at the end": (stream(b"NN"), "DP415"),
    "an open mark at the end": (stream(b"N("), "DP415"),
    "a call of a list": (stream(b"])R"), "DP415"),
    "a call without a tuple": (stream(named("collections", "OrderedDict") + b"NR"), "DP415"),
    # names
    "eval": (pickle.dumps(Calls(eval, "1")), "DP420"),
    "posix.system": (b"cposix\nsystem\n(Vtrue\ntR.", "DP420"),
    "getattr": (stream(call("builtins", "getattr", short("a") + short("b") + b"\x86")), "DP420"),
    "functools.partial": (stream(call("functools", "partial", named("numpy", "ndarray") + b"\x85")), "DP420"),
    "operator.attrgetter": (stream(call("operator", "attrgetter", short("x") + b"\x85")), "DP420"),
    "exec under its old name": (b"c__builtin__\nexec\n(V1\ntR.", "DP420"),
    "a shell re-exported by scikit-learn": (stream(call("sklearn.utils._testing", "check_output")), "DP420"),
    "a tree deleter of scikit-learn": (stream(call("sklearn.datasets._base", "clear_data_home")), "DP420"),
    "a tree deleter of joblib": (stream(call("joblib.disk", "delete_folder", short("/x") + b"\x85")), "DP420"),
    "a re-export that nobody listed": (stream(call("sklearn.base", "platform")), "DP421"),
    "an unknown function of the trading system": (stream(call("core.ml", "load")), "DP421"),
    "a dotted name": (stream(call("joblib.disk", "os.system", short("x") + b"\x85")), "DP422"),
    "a name with a space": (stream(named("os ", "system") + b"\x85"), "DP422"),
    "a name with a letter of another alphabet": (stream(named("ѕklearn.base", "clone") + b"\x85"), "DP422"),
    "an unknown class without a package": (stream(named("core.ml", "Engineer") + b")\x81}b"), "DP423"),
    "a class called like a function": (
        stream(named("sklearn.preprocessing._data", "StandardScaler") + b")R"),
        "DP424",
    ),
    "a function created like a class": (stream(named("_codecs", "encode") + b")\x81"), "DP424"),
    "os.system as data": (stream(SCALER + b"}" + short("copy") + named("os", "system") + b"sb"), "DP420"),
    "a function of numpy as data": (stream(SCALER + b"}" + short("f") + named("numpy", "savetxt") + b"sb"), "DP425"),
    "a class from the standard library": (stream(named("fractions", "Fraction") + b")\x81}b"), "DP429"),
    "a class from an installed package": (stream(named("requests.sessions", "Session") + b")\x81}b"), "DP420"),
    "a class from pandas that no model has": (stream(named("pandas.io.common", "Closer") + b")\x81}b"), "DP429"),
    # arguments
    "bytes of a gigabyte": (stream(call("builtins", "bytes", b"J\0\0\0\x40\x85")), "DP426"),
    "a bytearray of a gigabyte": (stream(call("builtins", "bytearray", b"J\0\0\0\x40\x85")), "DP426"),
    "another codec": (stream(call("_codecs", "encode", short("x") + short("rot13") + b"\x86")), "DP426"),
    "a defaultdict of a function": (
        stream(call("collections", "defaultdict", named("os", "getcwd") + b"\x85")),
        "DP426",
    ),
    "an object made with arguments": (
        stream(named("sklearn.preprocessing._data", "StandardScaler") + b"K\x01\x85\x81"),
        "DP426",
    ),
    "_reconstructor over another base": (
        stream(
            call(
                "copyreg",
                "_reconstructor",
                named("sklearn.preprocessing._data", "StandardScaler") + named("numpy", "ndarray") + b"N\x87",
            )
        ),
        "DP426",
    ),
    "a random state around a function": (
        stream(call("numpy.random._pickle", "__randomstate_ctor", named("os", "getcwd") + b"\x85")),
        "DP426",
    ),
    "a day 99": (stream(call("datetime", "date", b"C\x04\x07\xe8\x01\x63\x85")), "DP426"),
    # state and items
    "state twice": (stream(SCALER + b"}b}" + short("a") + b"Nsb"), "DP430"),
    "state for a class": (stream(named("numpy", "ndarray") + b"}b"), "DP430"),
    "state for a list": (stream(b"]}b"), "DP430"),
    "a state that another object shares": (stream(b"(}\x94" + SCALER + b"h\x00bl"), "DP430"),
    "predict in the state": (stream(SCALER + b"}" + short("predict") + b"Nsb"), "DP431"),
    "__class__ in the state": (stream(SCALER + b"}" + short("__class__") + b"Nsb"), "DP431"),
    "a number as attribute name": (stream(SCALER + b"}K\x01Nsb"), "DP431"),
    "an item appended to an estimator": (stream(SCALER + b"Na"), "DP432"),
    "an item set on an estimator": (stream(SCALER + b"NNs"), "DP432"),
    "an item added to a finished list": (stream(b"(]\x94h\x00Nal"), "DP432"),
    "an item appended to a tuple": (stream(b")Na"), "DP432"),
    "a list as key": (stream(b"}]Ns"), "DP433"),
    "a key twice": (stream(b"}(K\x01NK\x01Nu"), "DP433"),
    "a set of lists": (stream(b"\x8f(]\x90"), "DP433"),
    "a forged hash": (stream(b"}" + call("builtins", "complex", b"G" * 9 + b"G" * 9 + b"\x86") + b"Ns"), "DP433"),
    "a number twice in a set, in two batches": (stream(b"\x8f(K\x01\x90(K\x01\x90"), "DP433"),
    "lists that each hold the one before fifty times": (
        stream(b"(]\x94" + b"".join(b"](" + bytes([0x68, i]) * 50 + b"e\x94" for i in range(150)) + b"l"),
        "DP414",
    ),
    "three thousand tuples as keys": (
        stream(b"}(" + b"".join(b"M" + struct.pack("<H", i) + b"\x85N" for i in range(3000)) + b"u"),
        "DP414",
    ),
    "a text copied over and over": (
        stream(
            b"(" + named("_codecs", "encode") + b"\x94X" + struct.pack("<I", 99999) + b"a" * 99999 + b"\x94"
            + (b"h\0h\1" + short("latin1") + b"\x86R") * 20 + b"l"
        ),
        "DP414",
    ),
    # arrays
    "an object field in a structure": (
        dtype_with(
            "V8",
            b"(K\x03" + short("|") + b"N" + short("a") + b"\x85}" + short("a")
            + call("numpy", "dtype", short("O8") + b"\x89\x88\x87")
            + b"(K\x03" + short("|") + b"NNN" + MINUS + MINUS + b"K\x3ftb" + b"K\x00\x86sK\x08K\x01K\x10tb",
        ),
        "DP440",
    ),
    "a field outside the item": (
        dtype_with(
            "V8",
            b"(K\x03" + short("|") + b"N" + short("a") + b"\x85}" + short("a") + FLOAT
            + b"K\x04\x86sK\x08K\x01K\x10tb",
        ),
        "DP440",
    ),
    "flags of an object on a number": (
        dtype_with("f8", b"(K\x03" + short("<") + b"NNN" + MINUS + MINUS + b"K\x3ftb"),
        "DP440",
    ),
    "an item size of its own": (dtype_with("f8", b"(K\x03" + short("<") + b"NNNK\x04K\x01K\x00tb"), "DP440"),
    "a dtype with a subarray": (
        dtype_with("f8", b"(K\x03" + short("<") + FLOAT + b"K\x02\x85\x86NN" + MINUS + MINUS + b"K\x00tb"),
        "DP440",
    ),
    "a dtype completed twice": (stream(DTYPE + FLOAT[len(DTYPE):] + FLOAT[len(DTYPE):]), "DP440"),
    "an array larger than its bytes": (stream(array_of(b"J\0\0\0\x40\x85", FLOAT, b"\0" * 8)), "DP441"),
    "a negative size": (stream(array_of(MINUS + b"\x85", FLOAT, b"\0" * 8)), "DP441"),
    "a size that overflows": (stream(array_of(b"\x8a\x09" + b"\0" * 8 + b"\1" + b"K\x00\x86", FLOAT, b"")), "DP441"),
    "an array that never gets its state": (stream(EMPTY), "DP441"),
    "an array of a dtype without state": (stream(array_of(b"K\x01\x85", DTYPE, b"\0" * 8)), "DP441"),
}  # fmt: skip
for _sentence in (
    "an object field in a structure",
    "a field outside the item",
    "flags of an object on a number",
    "an item size of its own",
    "a dtype with a subarray",
):
    REFUSED[_sentence] = (stream(REFUSED[_sentence][0]), REFUSED[_sentence][1])
REFUSED |= {sentence: (stream(TRIPLET + args + b"\x81"), "DP426") for sentence, args in TRIPLETS.items()}
REFUSED["a triplet of protocol 0 around a function"] = (
    stream(
        call(
            "copyreg",
            "_reconstructor",
            TRIPLET + named("builtins", "tuple") + ONE + TWO + SYSTEM + b"\x87\x87",
        )
    ),
    "DP426",
)
REFUSED |= {sentence: (stream(body), rule) for sentence, (body, rule) in PARTIALS.items()}


@pytest.mark.parametrize("sentence", REFUSED)
def test_a_bad_input_is_refused_by_its_rule(sentence):
    data, rule = REFUSED[sentence]
    result = scan(data)
    assert result.verdict is not Verdict.ACCEPTED
    assert rule in {finding.rule for finding in result.findings}, result.findings
    with pytest.raises(GateRefusedError) as refusal:
        vet(data, where="x.pkl")
    assert refusal.value.findings == result.findings
    assert refusal.value.code == result.findings[0].rule


@pytest.mark.parametrize("name", ["ensure_all_finite", "force_all_finite"])
@pytest.mark.parametrize("space", [b"N", b"}"])
def test_the_partial_of_histogram_boosting_alone_is_accepted(name, space):
    held = vet(stream(partial(words=words(F8, name, b"\x89"), space=space)))
    assert held.root.cls == "functools.partial"
    assert [ref.path for ref in held.root.args] == ["sklearn.utils.validation.check_array"]
    assert set(held.root.attrs()) == {"dtype", name}
    assert ("sklearn.utils.validation", "check_array") not in {(use.module, use.name) for use in held.globals}


def test_the_named_tuple_of_an_iterative_imputer_is_accepted():
    held = vet(stream(TRIPLET + ONE + TWO + SCALER + b"\x87\x81"))
    assert held.root.cls == "sklearn.impute._iterative._ImputerTriplet"
    assert [type(item).__name__ for item in held.root.args] == ["NumpyScalar", "Array", "Record"]


@pytest.mark.parametrize("role", ["created", "data"])
def test_a_user_policy_cannot_widen_the_partial(role):
    for rule in (None, "check_array_partial", "inert"):
        entry = {"module": "functools", "name": "partial", "roles": ["called", role], "rule": rule}
        text = json.dumps(
            {"schema_version": 1, "family": "mine", "versions": {}, "globals": [entry]}
        ).encode()
        with pytest.raises(ConfigurationError) as refusal:
            parse_policy_file(text)
        assert refusal.value.code == "DP921"


def test_a_dangerous_callable_is_named_with_its_place():
    finding = scan(b"cposix\nsystem\n(Vtrue\ntR.").findings[0]
    assert (finding.reached, finding.opcode, finding.offset) == ("posix.system", "REDUCE", 0)
    assert finding.message.startswith("Attempted to load unsafe module")


def test_reading_goes_on_after_a_refused_name_so_that_a_report_shows_all():
    body = b"(" + call("os", "system", short("x") + b"\x85") + call("subprocess", "run") + b"l"
    assert [finding.reached for finding in scan(stream(body)).findings] == ["os.system", "subprocess.run"]


def test_no_call_has_an_effect(tmp_path):
    target = tmp_path / "touched"
    payload = pickle.dumps({"pipeline": Calls(open, str(target), "w")})
    assert scan(payload).verdict is Verdict.REFUSED
    assert not target.exists()


def test_no_module_that_a_file_names_is_imported():
    events: list[str] = []
    watching = True
    scan(pickle.dumps(1))
    sys.addaudithook(
        lambda event, _: (
            events.append(event) if watching and event in ("import", "pickle.find_class") else None
        )
    )
    for data, _ in REFUSED.values():
        scan(data)
    watching = False
    assert events == []


def test_an_unknown_class_is_refused_inside_the_estimator():
    model = models()["package"]
    inside = pickle.dumps({"pipeline": model["feature_engineer"]})
    assert {finding.rule for finding in scan(inside).findings} == {"DP428"}


def test_an_unknown_class_that_the_estimator_also_reaches_is_refused():
    package = dict(models()["package"])
    step = package["feature_engineer"]
    scaler = type(models()["scaler"])()
    scaler.copy = step
    refused = scan(pickle.dumps({"pipeline": scaler, "feature_engineer": step}))
    assert "DP428" in {finding.rule for finding in refused.findings}


def test_what_an_auxiliary_object_holds_obeys_the_same_policy():
    package = dict(models()["package"])
    package["feature_engineer"].extra = Calls(print, "x")
    try:
        findings = scan(pickle.dumps(package)).findings
    finally:
        del package["feature_engineer"].extra
    assert findings[0].rule == "DP420" and findings[0].reached == "builtins.print"


def test_an_object_array_inside_joblib_is_read_under_the_same_policy():
    file = io.BytesIO()
    joblib.dump({"pipeline": models()["scaler"], "x": np.array([Calls(print, "x"), 1], object)}, file)
    assert {finding.reached for finding in scan(file.getvalue()).findings} == {"builtins.print"}


def test_every_truncation_of_a_joblib_file_is_refused():
    file = io.BytesIO()
    joblib.dump(models()["scaler"], file)
    data = file.getvalue()
    for size in range(0, len(data), 7):
        assert scan(data[:size]).verdict is not Verdict.ACCEPTED


def test_findings_are_bounded():
    many = stream(b"(" + call("os", "system") * 500 + b"l")
    assert len(scan(many).findings) <= 51


def test_the_same_bytes_cannot_be_claimed_by_many_arrays():
    first = (
        EMPTY
        + b"(K\x01M\x00\x20\x85"
        + FLOAT
        + b"\x89B"
        + struct.pack("<I", 65536)
        + b"\0" * 65536
        + b"\x94tb"
    )
    again = EMPTY + b"(K\x01M\x00\x20\x85" + FLOAT + b"\x89h\x00tb"
    assert "DP414" in {finding.rule for finding in scan(stream(b"(" + first + again * 50 + b"l")).findings}


def test_a_dict_without_an_estimator_is_not_a_package():
    vetted = vet(pickle.dumps({"weights": [1, 2]}))
    with pytest.raises(UnsupportedModelError, match="Not a valid model package") as refusal:
        open_package(vetted)
    assert refusal.value.code == "DP601"


def test_a_user_policy_admits_a_reviewed_class():
    data = stream(named("core.ml", "Engineer") + b")\x81}" + short("window") + b"K\x0esb")
    entry = {"module": "core.ml", "name": "Engineer", "roles": ["created"], "rule": None}
    text = json.dumps({"schema_version": 1, "family": "mine", "versions": {}, "globals": [entry]}).encode()
    assert scan(data).verdict is Verdict.REFUSED
    assert vet(data, policy=extended_policy(parse_policy_file(text))).root.get("window") == 14


@pytest.mark.parametrize(
    ("module", "name", "code"),
    [
        ("os", "system", "DP921"),
        ("builtins", "getattr", "DP921"),
        ("functools", "partial", "DP921"),
        ("pandas", "eval", "DP921"),
        ("core.ml", "a.b", "DP921"),
    ],
)
def test_a_user_policy_cannot_admit_what_no_model_needs(module, name, code):
    entry = {"module": module, "name": name, "roles": ["called"], "rule": None}
    text = json.dumps({"schema_version": 1, "family": "mine", "versions": {}, "globals": [entry]}).encode()
    with pytest.raises(ConfigurationError) as refusal:
        parse_policy_file(text)
    assert refusal.value.code == code


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b'{"schema_version":2,"family":"x","versions":{},"globals":[]}']
)
def test_what_is_not_a_policy_file_is_refused(text):
    with pytest.raises(ConfigurationError) as refusal:
        parse_policy_file(text)
    assert refusal.value.code == "DP920"


def test_every_named_rule_is_implemented_and_every_family_round_trips():
    assert set(RULES_BY_NAME) == KNOWN_RULES
    assert len(default_policy()) > 300
    for family in shipped_families():
        assert parse_policy_file(encode_policy_file(family)) == parse_policy_file(encode_policy_file(family))


def test_every_rule_has_a_section_in_the_docs():
    from pathlib import Path

    text = (Path(__file__).parents[2] / "docs" / "rules" / "pickle.md").read_text()
    missing = [rule for rule in RULES if f"## {rule} " not in text]
    assert missing == []
    assert all(rule.remedy and rule.explanation.endswith(".") for rule in RULES.values())
    assert RULES["DP427"].severity is Severity.NOTE
