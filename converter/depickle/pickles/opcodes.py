# SPDX-License-Identifier: Apache-2.0
"""Names of opcodes for reports, and why some of them are never admitted."""

from __future__ import annotations

import pickletools

__all__ = ["OPCODE_NAMES", "UNUSED_OPCODES"]

#: Opcode byte to its name.
OPCODE_NAMES: dict[int, str] = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}

_PYTHON2 = "is how Python 2 wrote text; dump the model again with Python 3"
_STACK = "is written by no pickler for a model; crafted streams use it to show two faces"

_WHY = {
    "INST": "calls a class in the way of Python 2",
    "OBJ": "calls a class in the way of Python 2",
    "EXT1": "names a class by a number in a registry",
    "EXT2": "names a class by a number in a registry",
    "EXT4": "names a class by a number in a registry",
    "PERSID": "asks the program that loads for an object",
    "BINPERSID": "asks the program that loads for an object",
    "NEXT_BUFFER": "takes data from outside the file",
    "READONLY_BUFFER": "takes data from outside the file",
    "STRING": _PYTHON2,
    "BINSTRING": _PYTHON2,
    "SHORT_BINSTRING": _PYTHON2,
    "POP": _STACK,
    "POP_MARK": _STACK,
    "DUP": _STACK,
    "NEWOBJ_EX": "creates objects with keywords; models have none",
    "PROTO": "may stand at the very beginning only",
}

#: Opcode byte to the sentence that refuses it.
UNUSED_OPCODES: dict[int, str] = {
    byte: f"{name} {_WHY[name]}" for byte, name in OPCODE_NAMES.items() if name in _WHY
}
