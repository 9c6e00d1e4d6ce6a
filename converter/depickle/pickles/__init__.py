# SPDX-License-Identifier: Apache-2.0
"""A pickle read as data: containers, opcodes, an inert graph, findings. Nothing that a file names is imported.

Example:
    >>> from depickle.pickles import scan
    >>> result = scan(b"cos\\nsystem\\n(Vtrue\\ntR.")
    >>> result.verdict.value, result.findings[0].rule, result.findings[0].reached
    ('refused', 'DP420', 'os.system')
"""

from .findings import Finding, Severity, Verdict
from .gate import GlobalUse, ScanResult, VettedPickle, open_package, scan, vet
from .graph import (
    Array,
    DictNode,
    Dtype,
    GlobalRef,
    ListNode,
    NumpyScalar,
    Record,
    SetNode,
    TupleNode,
    Value,
    plain,
)
from .package import Package
from .policy import GlobalEntry, Policy, PolicyFile, default_policy, extended_policy, parse_policy_file
from .rules import RULES, Rule

__all__ = [
    "RULES",
    "Array",
    "DictNode",
    "Dtype",
    "Finding",
    "GlobalEntry",
    "GlobalRef",
    "GlobalUse",
    "ListNode",
    "NumpyScalar",
    "Package",
    "Policy",
    "PolicyFile",
    "Record",
    "Rule",
    "ScanResult",
    "SetNode",
    "Severity",
    "TupleNode",
    "Value",
    "Verdict",
    "VettedPickle",
    "default_policy",
    "extended_policy",
    "open_package",
    "parse_policy_file",
    "plain",
    "scan",
    "vet",
]
