# SPDX-License-Identifier: Apache-2.0
"""Strict mode: after `lock_down()`, pickle is unusable in this process, whoever asks for it.

Three locks, since none holds alone:

* Stand-ins for `pickle` and its kin in `sys.modules`: importing one works, because numpy imports it, and using it
  raises `UnsafeModelError`. numpy, onnxruntime, pandas and TA-Lib still work. What is not installed stays so.
* Where `pickle` was imported before (numpy does so), the loading functions of the real module are replaced in place,
  which reaches everybody who calls them through the module.
* An audit hook that raises when a pickle names a callable (``pickle.find_class``). It cannot be removed, and reaches
  code that took a function out of the module earlier. A subclass that overrides find_class escapes it, which is why
  there are the other two.

What it is not: a sandbox. Code that already runs in the process can undo the first two locks and go around the third.

>>> from depickle_runtime.lockdown import lock_down  # doctest: +SKIP
>>> lock_down()  # doctest: +SKIP
"""

from __future__ import annotations

import logging
import sys
import threading
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import ClassVar, Final, NoReturn, cast

from .errors import UnsafeModelError

__all__ = ["Lockdown", "is_locked_down", "lock_down"]

_logger = logging.getLogger(__name__)

LOCKED_MODULES: Final = ("pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve")
"""Modules that turn bytes into calls."""

DISARMED: Final = (
    "load",
    "loads",
    "Unpickler",
    "_load",
    "_loads",
    "_Unpickler",
    "open",
    "Shelf",
    "DbfilenameShelf",
)
"""What is replaced in a locked module that had been imported before."""

_NAMES_NUMPY_TAKES: Final = frozenset({"PickleError", "PicklingError", "UnpicklingError", "PickleBuffer"})
_CONSTANTS: Final = {"HIGHEST_PROTOCOL": 5, "DEFAULT_PROTOCOL": 4, "REDUCE": b"R", "NEWOBJ": b"\x81"}
"""What numpy and pandas (which TA-Lib imports where it is installed) read while they are imported."""


@dataclass(frozen=True, slots=True)
class Lockdown:
    """What strict mode achieved."""

    replaced: tuple[str, ...]
    """Modules now replaced by stand-ins."""
    imported_before: tuple[str, ...]
    """Modules that some code had imported already; they were disarmed in place."""

    @property
    def complete(self) -> bool:
        """Whether no code had a reference to the real modules or anything in them."""
        return not self.imported_before


_lock = threading.Lock()
_state: Lockdown | None = None


def _refuse(what: str) -> NoReturn:
    _logger.critical("refused in strict mode: %s", what)
    raise UnsafeModelError(
        "Attempted to load unsafe module",
        code="DP290",
        found=what,
        expected="no use of pickle in this process",
        where="strict mode",
        next_step="convert the file with `depickle migrate` on a migration host and load the ONNX model",
    )


class _Refused:
    """Stands for a class or function of a locked module: it may be named and subclassed, never called."""

    dispatch: ClassVar[dict[int, object]] = {}
    """pandas copies the table of the pure-Python unpickler while it is imported; this one has no entry."""

    def __init_subclass__(cls) -> None:
        """Allow classes that numpy and others derive from pickle's; their instances are refused."""

    def __new__(cls, *_args: object, **_kwargs: object) -> NoReturn:
        """Refuse the call."""
        _refuse(cls.__qualname__)


def _refused_class(module: str, name: str) -> type:
    return type(name, (_Refused,), {"__qualname__": f"{module}.{name}", "__module__": module})


class _StandIn(ModuleType):
    """A module that can be imported and not used."""

    def __getattr__(self, name: str) -> object:
        """An exception class, a protocol number, or a class that refuses to be called."""
        if name.startswith("__"):
            raise AttributeError(name)
        if name in _CONSTANTS:
            return _CONSTANTS[name]
        if name in _NAMES_NUMPY_TAKES and name.endswith("Error"):
            return type(name, (Exception,), {"__module__": self.__name__})
        return _refused_class(self.__name__, name)


def _stand_in(name: str) -> ModuleType:
    """A stand-in; for a module that is not installed, the entry that makes importing it fail as before."""
    if name not in sys.modules and find_spec(name) is None:
        return cast(ModuleType, None)  # the import system's own mark for "there is none"
    module = _StandIn(name, "Replaced by depickle_runtime.lockdown.")
    module.__spec__ = ModuleSpec(name, None)  # libraries look for the spec to see what is installed
    return module


def _audit(event: str, args: tuple[object, ...]) -> None:
    if event == "pickle.find_class":
        _refuse(f"a pickle that names {'.'.join(str(a) for a in args)[:200]}")


def lock_down() -> Lockdown:
    """Make pickle unusable in this process, for good.

    Call it first, before anything imports numpy: importing `depickle_runtime` does not. Calling it again returns the
    first outcome.

    Returns:
        What was replaced, and which modules had been imported before.
    """
    global _state  # the lock is the process's, so is the state
    with _lock:
        if _state is not None:
            return _state
        before = tuple(name for name in LOCKED_MODULES if name in sys.modules)
        for name in before:
            for attribute in DISARMED:
                if hasattr(sys.modules[name], attribute):
                    setattr(sys.modules[name], attribute, _refused_class(name, attribute))
        for name in LOCKED_MODULES:
            sys.modules[name] = _stand_in(name)
        sys.addaudithook(_audit)
        _state = Lockdown(replaced=LOCKED_MODULES, imported_before=before)
    _logger.warning(
        "strict mode: pickle is unusable in this process (disarmed in place: %s)", ", ".join(before) or "none"
    )
    return _state


def is_locked_down() -> bool:
    """Whether `lock_down` was called in this process."""
    return _state is not None
