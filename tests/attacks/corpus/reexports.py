# SPDX-License-Identifier: Apache-2.0
"""Dangerous callables under the names of sklearn, pandas, scipy, joblib, numpy, lightgbm and xgboost.

``reexports.json`` is written by ``tests/attacks/find_reexports.py``. One file is built for each package and callable,
one for each package and module that a dotted name can walk into; the functions of the libraries' own that run code or
reach files are listed here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import kit
from .kit import (
    Effect,
    Entry,
    args,
    call,
    inside,
    many,
    name,
    raw,
    shell,
    source,
    stacked,
    stream,
    text,
    value,
)

__all__ = ["entries"]

TABLE: tuple[tuple[str, str, str], ...] = tuple(
    (row[0], row[1], row[2]) for row in json.loads(Path(__file__).with_name("reexports.json").read_bytes())
)
"""(module, attribute, what it really is)."""


def _of_python(real: str) -> Callable[[bytes, Path], tuple[bytes, Effect]]:
    """How to show that the callable `real`, given as opcodes, is the dangerous one."""

    def with_tuple(*items: Any) -> Callable[[bytes, Path], tuple[bytes, Effect]]:
        return lambda f, m: (call(f, args(*(item(m) if callable(item) else item for item in items))), "runs")

    def twice(first: Callable[[Path], bytes], second: Callable[[Path], bytes]) -> Any:
        return lambda f, m: (call(call(f, first(m)), second(m)), "runs")

    shown: dict[str, Callable[[bytes, Path], tuple[bytes, Effect]]] = {
        "builtins.open": with_tuple(str, "w"),
        "functools.partial": twice(lambda m: many(name("os", "system"), text(shell(m))), lambda m: args()),
        "functools.reduce": lambda f, m: (
            call(f, many(name("shutil", "copyfile"), value(["/dev/null", str(m)]))),
            "runs",
        ),
        "importlib.import_module": with_tuple("antigravity_that_is_not_there"),
        "operator.attrgetter": lambda f, m: (
            call(
                call(call(f, args("system")), many(call(name("builtins", "__import__"), args("os")))),
                args(shell(m)),
            ),
            "runs",
        ),
        "operator.methodcaller": lambda f, m: (
            call(call(f, args("system", shell(m))), many(call(name("builtins", "__import__"), args("os")))),
            "runs",
        ),
        "os.makedirs": with_tuple(str),
        "os.remove": with_tuple("/nonexistent"),
        "os.replace": with_tuple("/nonexistent", str),
        "pickle.loads": lambda f, m: (call(f, many(raw(stream(kit.system(m))))), "runs"),
        "shutil.rmtree": with_tuple("/nonexistent"),
        "subprocess.check_output": with_tuple(lambda m: ["touch", str(m)]),
        "subprocess.Popen": with_tuple(lambda m: ["touch", str(m)]),
        "urllib.request.urlopen": with_tuple("file:///dev/null"),
        "urllib.request.urlretrieve": with_tuple("file:///dev/null", str),
    }
    return shown[real]


_HARMLESS = frozenset(
    {"importlib.import_module", "os.remove", "os.replace", "shutil.rmtree", "urllib.request.urlopen"}
)
"""Called with arguments that leave no trace."""

#: What a dotted name calls in each module.
_WALKS: dict[str, tuple[str, Callable[[Path], tuple[Any, ...]]]] = {
    "module os": ("system", lambda m: (shell(m),)),
    "module subprocess": ("getoutput", lambda m: (shell(m),)),
    "module shutil": ("copyfile", lambda m: ("/dev/null", str(m))),
    "module builtins": ("exec", lambda m: (source(m),)),
    "module importlib": ("sys.modules.get", lambda m: ("os",)),
    "module runpy": ("os.system", lambda m: (shell(m),)),
}


def _reexports() -> list[Entry]:
    found: dict[tuple[str, str], Entry] = {}
    for module, attribute, real in TABLE:
        key = (module.partition(".")[0], real)
        if key in found:
            continue
        stem = f"{key[0]}-{real.replace('module ', 'walk-')}".replace("_", "-").lower()
        if real in _WALKS:
            function, arguments = _WALKS[real]
            found[key] = Entry(
                f"reexport-{stem}",
                f"a dotted name walks from {module} to {attribute}.{function}",
                lambda m, mo=module, a=f"{attribute}.{function}", ar=arguments: inside(
                    call(stacked(mo, a), args(*ar(m)))
                ),
                rule="DP42",
                effect="none" if real == "module importlib" else "runs",
                advisory="fickling GHSA-5j3x-jp52-966f",
            )
            continue
        found[key] = Entry(
            f"reexport-{stem}",
            f"{real}, reachable as {module}.{attribute}",
            lambda m, mo=module, a=attribute, r=real: inside(_of_python(r)(stacked(mo, a), m)[0]),
            rule="DP42",
            effect="none" if real in _HARMLESS else "runs",
        )
    return list(found.values())


#: module, name, arguments, effect, advisory: the libraries' own.
_OWN: tuple[tuple[str, str, Callable[[Path], tuple[Any, ...]], Effect, str | None], ...] = (
    ("numpy.testing._private.utils", "runstring", lambda m: (source(m), {}), "runs", "picklescan 0.0.22"),
    ("numpy.f2py.crackfortran", "myeval", lambda m: (source(m),), "runs", "picklescan GHSA-r8g5-cgf2-4m4m"),
    ("numpy.f2py.crackfortran", "getlincoef", lambda m: (source(m), {}), "runs", "picklescan GHSA-r8g5-cgf2-4m4m"),
    ("numpy.f2py.crackfortran", "_eval_length", lambda m: (source(m), {}), "runs", "picklescan GHSA-r8g5-cgf2-4m4m"),
    ("numpy.f2py.diagnose", "run", lambda m: (), "none", None),
    ("numpy", "save", lambda m: (str(m), [1.0]), "changes", None),
    ("numpy", "savetxt", lambda m: (str(m), [1.0]), "runs", None),
    ("numpy", "memmap", lambda m: (str(m), "u1", "w+", 0, 8), "runs", None),
    ("numpy", "load", lambda m: ("/dev/null", None, True), "none", None),
    ("numpy", "fromfile", lambda m: ("/dev/null",), "none", None),
    ("numpy", "DataSource", lambda m: (str(m.parent),), "none", None),
    ("numpy.ctypeslib._ctypeslib", "load_library", lambda m: ("libnone", "/nonexistent"), "none", None),
    ("joblib", "dump", lambda m: ([1], str(m)), "runs", None),
    ("joblib", "load", lambda m: ("/dev/null",), "none", None),
    ("joblib.disk", "delete_folder", lambda m: ("/nonexistent",), "none", None),
    ("joblib.disk", "mkdirp", lambda m: (str(m),), "runs", None),
    ("joblib.memory", "Memory", lambda m: (str(m),), "runs", None),
    ("joblib.externals.cloudpickle.cloudpickle", "subimport", lambda m: ("this",), "none", None),
    ("joblib.externals.loky.backend.popen_loky_posix", "Popen", lambda m: (None,), "none", None),
    ("pandas", "eval", lambda m: ("@pd.io.common.os.getcwd()",), "none", None),
    ("pandas", "read_pickle", lambda m: ("/dev/null",), "none", None),
    ("pandas.io.common", "get_handle", lambda m: (str(m), "w"), "runs", None),
    ("pandas.io.parsers.readers", "read_csv", lambda m: ("/dev/null",), "none", "modelscan issue 338"),
    ("pandas", "HDFStore", lambda m: (str(m),), "none", None),
    ("pandas.core.computation.eval", "eval", lambda m: ("1+1",), "none", None),
    ("scipy.io", "savemat", lambda m: (str(m), {"a": 1}), "runs", None),
    ("scipy._lib._ccallback", "LowLevelCallable", lambda m: (1,), "none", None),
    ("scipy.io.wavfile", "write", lambda m: (str(m), 8000, []), "runs", None),
    ("sklearn.datasets._base", "clear_data_home", lambda m: (str(m),), "none", None),
    ("sklearn.datasets._base", "get_data_home", lambda m: (str(m),), "runs", None),
    ("sklearn.utils._testing", "_delete_folder", lambda m: ("/nonexistent",), "none", None),
    ("sklearn.utils._testing", "assert_run_python_script_without_output", lambda m: (source(m),), "runs", None),
    ("sklearn.utils._set_output", "_wrap_data_with_container", lambda m: ("transform", [], [], None), "none", None),
    ("sklearn._config", "set_config", lambda m: (True,), "changes", None),
    ("lightgbm.basic", "register_logger", lambda m: (None,), "none", None),
    ("lightgbm.basic", "_load_lib", lambda m: (), "none", None),
    ("xgboost.config", "set_config", lambda m: (), "none", None),
    ("xgboost.core", "_load_lib", lambda m: (), "none", None),
)  # fmt: skip

_PROBES = {
    ("numpy", "save"): "__import__('os').path.exists({marker!r} + '.npy')",
    ("sklearn._config", "set_config"): "__import__('sklearn').get_config()['assume_finite']",
}


def _own() -> list[Entry]:
    found = []
    for module, attribute, arguments, effect, advisory in _OWN:
        found.append(
            Entry(
                f"library-{module}.{attribute}".replace("_", "-").lower(),
                f"{module}.{attribute}, which an allowlist of prefixes admits",
                lambda m, mo=module, a=attribute, ar=arguments: inside(call(stacked(mo, a), args(*ar(m)))),
                rule="DP42",
                effect=effect,
                advisory=advisory,
                probe=_PROBES.get((module, attribute)),
            )
        )
    return found


def entries() -> list[Entry]:
    """Every entry of this class."""
    return [*_reexports(), *_own()]
