# SPDX-License-Identifier: Apache-2.0
"""The rules of the pickle gate: identifier, title, severity and remedy, one section each in docs/rules.md."""

from __future__ import annotations

import msgspec

from .findings import Finding, Severity

__all__ = ["RULES", "UNREADABLE_RULES", "Rule", "finding"]


class Rule(msgspec.Struct, frozen=True):
    """One rule of the gate.

    Attributes:
        id: ``DP4xx``.
        title: a few words.
        severity: of its findings.
        explanation: why the rule exists.
        remedy: what an honest owner of a file can do.
    """

    id: str
    title: str
    severity: Severity
    explanation: str
    remedy: str


_REEXPORT = "write the model again with pickle or joblib in the environment that trained it"
_ADMIT = "if you know this class, `depickle allow --propose FILE` writes a policy entry for review"
_DISCARD = "do not load this file anywhere; find out who wrote it"

_TABLE: tuple[tuple[str, str, Severity, str, str], ...] = (
    (
        "DP401",
        "Not a pickle",
        Severity.ERROR,
        "The bytes are neither a pickle nor a compressed pickle.",
        "check that the file is the model that you meant",
    ),
    (
        "DP402",
        "Another format",
        Severity.ERROR,
        "The content is of a format that this gate does not read, whatever the file is called.",
        "convert models of that format with their own tools",
    ),
    (
        "DP403",
        "Bytes after the end",
        Severity.ERROR,
        "Something follows the end of the pickle or of the compressed data; a second payload could hide there.",
        _REEXPORT,
    ),
    (
        "DP404",
        "Too large",
        Severity.ERROR,
        "The file, or what it decompresses to, is over the gate's bound.",
        "store large data apart from the model, or split the ensemble",
    ),
    (
        "DP405",
        "Damaged compression",
        Severity.ERROR,
        "The compressed data ends early or is not valid.",
        "copy the file again from its source",
    ),
    (
        "DP406",
        "lz4 is not installed",
        Severity.ERROR,
        "The file is compressed with lz4, and the optional package that reads it is absent.",
        "install depickle[lz4]",
    ),
    (
        "DP407",
        "More than one layer of compression",
        Severity.ERROR,
        "The decompressed data is compressed again; joblib and pickle never write that.",
        _REEXPORT,
    ),
    (
        "DP410",
        "Malformed stream",
        Severity.ERROR,
        "The opcodes end early, carry a bad argument, or cannot be followed.",
        "copy the file again from its source",
    ),
    (
        "DP411",
        "Opcode that no honest pickler writes",
        Severity.ERROR,
        "Python's own picklers never write this opcode for a model; crafted files use it to confuse scanners.",
        _REEXPORT,
    ),
    (
        "DP412",
        "Frame that does not end where it says",
        Severity.ERROR,
        "Two readers of the same stream could see different opcodes.",
        _REEXPORT,
    ),
    (
        "DP413",
        "Memo out of order",
        Severity.ERROR,
        "The memo is numbered without gaps by every pickler, and only filled entries are read.",
        _REEXPORT,
    ),
    (
        "DP414",
        "Over a bound",
        Severity.ERROR,
        "Nesting, count or size is beyond what honest models have.",
        "store large data apart from the model",
    ),
    (
        "DP415",
        "Opcode on the wrong kind of value",
        Severity.ERROR,
        "The stack does not hold what the opcode works on.",
        _REEXPORT,
    ),
    (
        "DP420",
        "Dangerous callable",
        Severity.ERROR,
        "Loading the file would call a function that can run code, reach files or change the process.",
        _DISCARD,
    ),
    (
        "DP421",
        "Call of something that the policy does not admit",
        Severity.ERROR,
        "The policy holds the exact functions that honest models call on loading; this is not one of them.",
        _ADMIT,
    ),
    (
        "DP422",
        "Name that is not a plain name",
        Severity.ERROR,
        "A dotted or odd name walks attributes on loading, so joblib.disk.os.system would pass for joblib.",
        _DISCARD,
    ),
    (
        "DP423",
        "Class that the policy does not admit",
        Severity.ERROR,
        "The policy holds the exact classes that honest models are made of; this is not one of them.",
        _ADMIT,
    ),
    (
        "DP424",
        "Name used in another role",
        Severity.ERROR,
        "The policy admits this name in another role: created, called and mentioned are separate permissions.",
        _ADMIT,
    ),
    (
        "DP425",
        "Mention of something that the policy does not admit",
        Severity.ERROR,
        "A function or class held as data is called later by whoever finds it there.",
        _ADMIT,
    ),
    (
        "DP426",
        "Argument that the rule of this callable forbids",
        Severity.ERROR,
        "The callable is admitted with certain arguments only.",
        _REEXPORT,
    ),
    (
        "DP427",
        "Unknown class beside the estimator",
        Severity.NOTE,
        "A class of your own system was kept as an inert record: shown, never imported, and not converted.",
        "nothing to do; the converted model does not contain it",
    ),
    (
        "DP428",
        "Unknown class inside the estimator",
        Severity.ERROR,
        "The model itself is made of a class that no policy knows, so nobody could say what it computes.",
        _ADMIT,
    ),
    (
        "DP429",
        "Unknown class under a library's name",
        Severity.ERROR,
        "The module belongs to Python or to a known package, but honest models never create this class.",
        _ADMIT,
    ),
    (
        "DP430",
        "State for something that takes none",
        Severity.ERROR,
        "State may be set once, on an instance that this stream created; on a class it changes the process.",
        _DISCARD,
    ),
    (
        "DP431",
        "State that shadows behaviour",
        Severity.ERROR,
        "An attribute with the name of a method or a special name would replace what the class does.",
        _DISCARD,
    ),
    (
        "DP432",
        "Items for something that holds none",
        Severity.ERROR,
        "Items may be added to fresh lists, dicts and sets only; elsewhere adding calls a method.",
        _REEXPORT,
    ),
    (
        "DP433",
        "Key that is not a simple value",
        Severity.ERROR,
        "Keys and set members are hashed and compared on loading, so they must be plain values, each once.",
        _REEXPORT,
    ),
    (
        "DP440",
        "Unsafe dtype",
        Severity.ERROR,
        "The dtype has fields, flags or sizes that honest arrays do not have; numpy trusts them.",
        _REEXPORT,
    ),
    (
        "DP441",
        "Array that does not match its bytes",
        Severity.ERROR,
        "Shape, item size and the bytes present disagree, or an element is not a valid value of its type.",
        _REEXPORT,
    ),
    (
        "DP442",
        "Malformed joblib array",
        Severity.ERROR,
        "The wrapper that steers joblib's array reader is not one that joblib writes.",
        _REEXPORT,
    ),
    (
        "DP443",
        "Old joblib format",
        Severity.ERROR,
        "joblib before 0.10 kept arrays in files of their own, which this gate does not follow.",
        "load it in its old environment and dump it with joblib 1.x",
    ),
    (
        "DP450",
        "Tree that is not a tree",
        Severity.ERROR,
        "scikit-learn's C code follows child and feature indices without looking; these point outside or in circles.",
        _REEXPORT,
    ),
    (
        "DP451",
        "Ensemble whose trees do not fit it",
        Severity.ERROR,
        "An ensemble checks the width of a row once and hands it to its trees unchecked.",
        _REEXPORT,
    ),
    (
        "DP452",
        "Histogram boosting out of bounds",
        Severity.ERROR,
        "The nodes of a histogram booster point outside their arrays.",
        _REEXPORT,
    ),
    (
        "DP453",
        "Sparse matrix out of bounds",
        Severity.ERROR,
        "Pointers or indices of a sparse matrix lie outside it; scipy's C++ code does not look.",
        _REEXPORT,
    ),
    (
        "DP454",
        "Support vectors that do not fit",
        Severity.ERROR,
        "libsvm trusts the numbers of support vectors, weights and classes.",
        _REEXPORT,
    ),
    (
        "DP455",
        "Preprocessor of another width",
        Severity.ERROR,
        "A per-feature array is not as long as the number of features.",
        _REEXPORT,
    ),
    (
        "DP456",
        "Linear model of another width",
        Severity.ERROR,
        "Coefficients, intercepts and classes do not fit each other or the features.",
        _REEXPORT,
    ),
    (
        "DP457",
        "LightGBM text out of bounds",
        Severity.ERROR,
        "LightGBM's parser cuts the text by the sizes it names and follows the indices it holds.",
        _REEXPORT,
    ),
    (
        "DP458",
        "XGBoost model out of bounds",
        Severity.ERROR,
        "XGBoost follows the child and feature indices of the document without looking.",
        _REEXPORT,
    ),
    (
        "DP459",
        "Neighbour tree out of bounds",
        Severity.ERROR,
        "A KD or ball tree follows its index array and node ranges without looking.",
        _REEXPORT,
    ),
    (
        "DP460",
        "Index out of bounds",
        Severity.ERROR,
        "pandas uses the codes of a MultiIndex as positions without looking.",
        _REEXPORT,
    ),
    (
        "DP461",
        "Curve or variance with impossible numbers",
        Severity.ERROR,
        "Knots and thresholds must ascend and be as many as their values; a variance is divided by.",
        _REEXPORT,
    ),
)

#: Rule by identifier.
RULES: dict[str, Rule] = {row[0]: Rule(*row) for row in _TABLE}

#: Rules whose findings mean that there was nothing to judge.
UNREADABLE_RULES = frozenset({"DP401", "DP402", "DP405", "DP406", "DP410"})


def finding(
    rule: str,
    message: str,
    *,
    offset: int | None = None,
    opcode: str | None = None,
    reached: str | None = None,
) -> Finding:
    """A finding of `rule`, with the rule's severity and remedy."""
    known = RULES[rule]
    return Finding(
        rule=rule,
        severity=known.severity,
        message=message,
        offset=offset,
        opcode=opcode,
        reached=reached,
        remedy=known.remedy,
    )
