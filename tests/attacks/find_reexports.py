# SPDX-License-Identifier: Apache-2.0
"""Finds callables that run code or reach files under the names of libraries which every prefix allowlist admits.

Imports every module of sklearn, pandas, scipy, joblib, numpy, lightgbm and xgboost and compares what it finds there
by identity with a list of dangerous callables, so that a re-export under any name shows. Writes the table that
``corpus/reexports.py`` builds files from. ::

    python -m tests.attacks.find_reexports > tests/attacks/corpus/reexports.json
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import functools
import importlib
import io
import json
import operator
import os
import pickle
import pkgutil
import runpy
import shutil
import subprocess
import sys
import types
import urllib.request
import warnings
import webbrowser
from collections.abc import Iterator

PACKAGES = ("joblib", "lightgbm", "numpy", "pandas", "scipy", "sklearn", "xgboost")
_SKIPPED = (
    "__main__",
    "conftest",
    "setup",
    "_distributor_init",
    ".tests.test_",
    "_pytester",
    "_blas_subroutines",
)

DANGEROUS: dict[str, object] = {
    "builtins.eval": builtins.eval,
    "builtins.exec": builtins.exec,
    "builtins.getattr": builtins.getattr,
    "builtins.open": builtins.open,
    "builtins.__import__": builtins.__import__,
    "ctypes.CDLL": ctypes.CDLL,
    "functools.partial": functools.partial,
    "functools.reduce": functools.reduce,
    "importlib.import_module": importlib.import_module,
    "operator.attrgetter": operator.attrgetter,
    "operator.methodcaller": operator.methodcaller,
    "os.chmod": os.chmod,
    "os.makedirs": os.makedirs,
    "os.mkdir": os.mkdir,
    "os.remove": os.remove,
    "os.rename": os.rename,
    "os.replace": os.replace,
    "os.system": os.system,
    "pickle.loads": pickle.loads,
    "pickle.load": pickle.load,
    "runpy.run_path": runpy.run_path,
    "shutil.copy": shutil.copy,
    "shutil.copyfile": shutil.copyfile,
    "shutil.copyfileobj": shutil.copyfileobj,
    "shutil.move": shutil.move,
    "shutil.rmtree": shutil.rmtree,
    "subprocess.Popen": subprocess.Popen,
    "subprocess.call": subprocess.call,
    "subprocess.check_call": subprocess.check_call,
    "subprocess.check_output": subprocess.check_output,
    "subprocess.run": subprocess.run,
    "urllib.request.urlopen": urllib.request.urlopen,
    "urllib.request.urlretrieve": urllib.request.urlretrieve,
    "webbrowser.open": webbrowser.open,
}
"""Compared by identity."""

MODULES = frozenset({"builtins", "importlib", "os", "runpy", "shutil", "subprocess"})
"""Modules that a dotted name walks into: ``joblib.disk`` and ``os.system``."""


def modules_of(package: str) -> Iterator[types.ModuleType]:
    """Every importable module below `package`; those that fail to import cannot be named by a pickle either."""
    root = importlib.import_module(package)
    yield root
    for info in pkgutil.walk_packages(root.__path__, f"{package}.", onerror=lambda name: None):
        if any(part in info.name for part in _SKIPPED):
            continue
        with contextlib.suppress(BaseException):
            yield importlib.import_module(info.name)


def find(package: str) -> Iterator[tuple[str, str, str]]:
    """(module, attribute, what it really is) of every dangerous callable or module below `package`."""
    by_id = {id(value): name for name, value in DANGEROUS.items()}
    for module in modules_of(package):
        for name, value in sorted(vars(module).items()):
            real = by_id.get(id(value))
            if real is not None:
                yield module.__name__, name, real
            elif (
                isinstance(value, types.ModuleType)
                and value.__name__ in MODULES
                and not name.startswith("__")
            ):
                yield module.__name__, name, f"module {value.__name__}"


def main() -> int:
    """Prints the table as JSON, one row a line."""
    warnings.simplefilter("ignore")
    rows: set[tuple[str, str, str]] = set()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for package in PACKAGES:
            rows.update(find(package))
    sys.stdout.write("[\n" + ",\n".join("  " + json.dumps(row) for row in sorted(rows)) + "\n]\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
