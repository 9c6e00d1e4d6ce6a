# SPDX-License-Identifier: Apache-2.0
"""Slips in any field: each class of the typed model, each of its fields, changed where it stands.

Nothing here knows what a class means, so a family that is added later is covered from its first day: numbers move by
one unit in the last place, flags and modes take another value, entries change places or get lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from depickle.models import types

__all__ = ["Field", "changed", "fields_of"]

Generator = np.random.Generator
Path = tuple[str | int, ...]

LONG = 6
"""Entries of a tuple up to which each is looked into; of a longer one the first and the last."""


@dataclass(frozen=True)
class Field:
    """A place in a typed model.

    Attributes:
        kind: class and field, with what is done to it.
        path: attribute names and positions that lead to it.
        change: from the old value to another one.
    """

    kind: str
    path: Path
    change: Callable[[Any, Generator], Any]


def fields_of(value: Any, path: Path = (), owner: str = "", hint: Any = None) -> Iterator[Field]:
    """Every place below `value` that can be changed, however deep."""
    if is_dataclass(value) and not isinstance(value, type):
        name = type(value).__name__
        hints = _hints(type(value))
        for field in fields(value):
            yield from fields_of(
                getattr(value, field.name), (*path, field.name), f"{name}.{field.name}", hints[field.name]
            )
    elif isinstance(value, np.ndarray):
        if value.size:
            yield Field(f"{owner}, an entry", path, _array)
    elif isinstance(value, tuple):
        if len(value) > 1:
            yield Field(f"{owner}, order", path, _reordered)
            yield Field(f"{owner}, one lost", path, _shortened)
        places = range(len(value)) if len(value) <= LONG else (0, len(value) - 1)
        for place in places:
            yield from fields_of(value[place], (*path, place), owner)
    elif isinstance(value, Mapping):
        if value:
            yield Field(f"{owner}, one lost", path, _without_one)
    elif isinstance(value, bool):
        yield Field(owner, path, lambda old, generator: not old)
    elif isinstance(value, int):
        yield Field(owner, path, lambda old, generator: old + int(generator.choice([-1, 1])))
    elif isinstance(value, float):
        yield Field(f"{owner} ±1 ulp", path, _stepped)
    elif isinstance(value, str) and (others := [name for name in _choices(hint) if name != value]):
        yield Field(owner, path, lambda old, generator: str(generator.choice(others)))


def changed(value: Any, field: Field, generator: Generator, path: Path | None = None) -> Any:
    """`value` with `field` changed."""
    first, *rest = field.path if path is None else path or (None,)
    if first is None:
        return field.change(value, generator)
    inner = changed(
        value[first] if isinstance(first, int) else getattr(value, first), field, generator, tuple(rest)
    )
    if isinstance(first, int):
        return (*value[:first], inner, *value[first + 1 :])
    return replace(value, **{first: inner})


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(
        cls, localns=vars(types)
    )  # some modules import each other for their annotations only


def _choices(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) is Literal:
        return get_args(hint)
    return tuple(choice for part in get_args(hint) for choice in _choices(part))


def _array(old: Any, generator: Generator) -> Any:
    new = old.copy().reshape(-1)
    place = int(generator.integers(new.size))
    if new.dtype.kind == "f":
        new[place] = _stepped(float(new[place]), generator)
    elif new.dtype.kind == "b":
        new[place] = not new[place]
    else:
        new[place] += generator.choice([-1, 1])
    return new.reshape(old.shape)


def _stepped(old: float, generator: Generator) -> float:
    """One unit in the last place of float64; of float32, half of the times, where it is a float32 number."""
    single = float(np.float32(old)) == old and generator.integers(2) == 0
    real = np.float32 if single else np.float64
    return float(np.nextafter(real(old), real(generator.choice([-np.inf, np.inf]))))


def _reordered(old: tuple[Any, ...], generator: Generator) -> tuple[Any, ...]:
    one, other = (int(place) for place in generator.choice(len(old), 2, replace=False))
    new = list(old)
    new[one], new[other] = new[other], new[one]
    return tuple(new)


def _shortened(old: tuple[Any, ...], generator: Generator) -> tuple[Any, ...]:
    gone = int(generator.integers(len(old)))
    return (*old[:gone], *old[gone + 1 :])


def _without_one(old: Mapping[Any, Any], generator: Generator) -> dict[Any, Any]:
    gone = sorted(old)[int(generator.integers(len(old)))]
    return {key: item for key, item in old.items() if key != gone}
