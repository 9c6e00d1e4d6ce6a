# SPDX-License-Identifier: Apache-2.0
"""Lists the methods of every class that a policy lets a pickle create, so that no state can replace one.

Run in each environment of which a policy is shipped; the file only grows. ::

    <environment>/bin/python scripts/generate_method_names.py converter/depickle/pickles

Needs the libraries of its environment only.
"""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from pathlib import Path

#: Names that are methods of one class and data of another: honest states hold them.
DATA = frozenset({"copy", "link", "loss", "refit"})
_ROOTS = ("sklearn.", "lightgbm.", "xgboost.")
_KINDS = (
    "function",
    "staticmethod",
    "classmethod",
    "cython_function_or_method",
    "_AvailableIfDescriptor",
    "_IffHasAttrDescriptor",
)


def method_names(module: str, name: str) -> set[str]:
    """The methods of one class and its bases, without special names; empty where this release lacks it."""
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return set()
    found = set()
    for base in getattr(cls, "__mro__", ()):
        for attribute, value in vars(base).items():
            if type(value).__name__ in _KINDS and not (attribute[:2] == "__" and attribute[-2:] == "__"):
                found.add(attribute)
    return found


def main(folder: Path) -> int:
    """Adds the names of this environment to ``method_names.txt``."""
    warnings.simplefilter("ignore")
    path = folder / "method_names.txt"
    found = set(path.read_text(encoding="ascii").split()) if path.exists() else set()
    for policy in sorted((folder / "policies").glob("*.json")):
        for entry in json.loads(policy.read_bytes())["globals"]:
            if "created" in entry["roles"] and entry["module"].startswith(_ROOTS):
                found |= method_names(entry["module"], entry["name"])
    path.write_text("\n".join(sorted(found - DATA)) + "\n", encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
