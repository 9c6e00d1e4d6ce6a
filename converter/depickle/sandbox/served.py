# SPDX-License-Identifier: Apache-2.0
"""What a worker is handed of a vetted file: the stream, and the exact globals that its readers may serve."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from ..errors import SandboxError
from ..pickles.containers import ContainerError, open_container

__all__ = ["SupportsGlobalUse", "SupportsVetted", "served_globals", "served_modules", "stream_of"]

_ARRAY: Final = ("joblib.numpy_pickle", "NumpyArrayWrapper")
_PARTIAL: Final = ("functools", "partial")
_SERVED: Final = frozenset(("created", "called", "data"))
_STAND_INS: Final = frozenset(("auxiliary",))
_NDARRAY: Final = (("numpy", "ndarray"),)
_LANGUAGE: Final = tuple(
    (module, name)
    for module in ("builtins", "__builtin__")
    for name in ("object", "int", "float", "str", "dict", "list", "tuple", "set")
)
# Some argument rules of the gate settle a name in place (the ndarray in ``_reconstruct(ndarray, (0,), b"b")``) and
# leave it out of the file's table. All of these are plain types, and the gate has seen every use of them.
_IMPLIED: Final = {
    _ARRAY: (("numpy", "ndarray"), ("numpy", "memmap")),
    ("numpy.core.multiarray", "_reconstruct"): _NDARRAY,
    ("numpy._core.multiarray", "_reconstruct"): _NDARRAY,
    ("numpy.ma.core", "_mareconstruct"): (
        ("numpy.ma", "MaskedArray"),
        ("numpy.ma.core", "MaskedArray"),
        ("numpy", "ndarray"),
    ),
    _PARTIAL: (("sklearn.utils.validation", "check_array"),),
    ("copyreg", "_reconstructor"): _LANGUAGE,
    ("collections", "defaultdict"): (*_LANGUAGE, ("collections", "OrderedDict")),
    ("copy_reg", "_reconstructor"): _LANGUAGE,
}


class SupportsGlobalUse(Protocol):
    """One use of a global as the gate saw it."""

    @property
    def module(self) -> str:
        """As the stream spells it."""

    @property
    def name(self) -> str:
        """As the stream spells it."""

    @property
    def role(self) -> str:
        """``created``, ``called``, ``data`` or ``auxiliary``."""


class SupportsVetted(Protocol):
    """What the worker needs of a `VettedPickle`."""

    @property
    def data(self) -> bytes:
        """The original file."""

    @property
    def container(self) -> str:
        """``pickle``, ``joblib``, and either with ``+`` and the compression."""

    @property
    def globals(self) -> Iterable[SupportsGlobalUse]:
        """Every global of the stream."""


@dataclass(frozen=True)
class ServedGlobal:
    """One row of the table that is handed to the child."""

    module: str
    name: str
    how: str


def served_globals(uses: Iterable[SupportsGlobalUse]) -> tuple[ServedGlobal, ...]:
    """The table of a vetted file: exact pairs, each once, and what `find_class` gives for it.

    Raises:
        SandboxError: DP516 for a dotted name, an unknown role, or a pair that is both served and auxiliary.
    """
    table: dict[tuple[str, str], str] = {}
    for use in uses:
        pair = (use.module, use.name)
        if pair == _ARRAY:
            how = "array"
        elif pair == _PARTIAL:
            how = "partial" if use.role == "called" else ""
        elif use.role in _STAND_INS:
            how = "standin"
        elif use.role in _SERVED:
            how = "serve"
        else:
            how = ""
        if not how or "." in use.name or table.setdefault(pair, how) != how:
            raise SandboxError(
                "A vetted file names a global that the worker cannot serve",
                code="DP516",
                where=f"{use.module}.{use.name}",
                found=f"role {use.role!r}",
                expected="created, called, data or auxiliary, and one answer for each exact name",
            )
    for pair in tuple(table):
        for implied in _IMPLIED.get(pair, ()):
            table.setdefault(implied, "serve")
    return tuple(ServedGlobal(module, name, how) for (module, name), how in sorted(table.items()))


def served_modules(table: Iterable[ServedGlobal]) -> list[str]:
    """The modules that the warm process imports before it forks; those of stand-ins are never imported."""
    python2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}
    return sorted({python2.get(row.module, row.module) for row in table if row.how == "serve"})


def stream_of(vetted: SupportsVetted) -> bytes:
    """The decompressed stream of a vetted file: no child decompresses anything.

    Raises:
        SandboxError: DP516 where the container that the gate accepted does not open again.
    """
    try:
        return open_container(vetted.data).stream
    except ContainerError as error:
        raise SandboxError(
            "A vetted file does not open again", code="DP516", found=error.message, expected=vetted.container
        ) from error
