# SPDX-License-Identifier: Apache-2.0
"""Versioned feature catalogues: names to definitions, frozen by digest, computed the same way everywhere.

A model that was trained on ``catalogue@1`` gets the values of ``catalogue@1`` for ever: the digest of all its
definitions is written beside them and compared before the catalogue is handed out.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from ..errors import FeatureError
from ..market_data import Bars
from . import catalogue_1
from .definitions import Definition
from .expressions import Evaluation, digest_of

__all__ = ["Catalogue", "catalogue", "catalogue_names"]


class Catalogue:
    """The definitions of one version; immutable, safe to share between threads.

    Example:
        >>> features = catalogue("catalogue@1")
        >>> features["rsi_14"].warm_up
        250
    """

    def __init__(self, name: str, definitions: Sequence[Definition], digest: str) -> None:
        """Take the definitions if they are the ones that `digest` covers.

        Raises:
            FeatureError: DP212 where a definition is not the one that was frozen, or a name occurs twice.
        """
        actual = digest_of([definition.as_json() for definition in definitions])
        by_name = {definition.name: definition for definition in definitions}
        if actual != digest or len(by_name) != len(definitions):
            raise FeatureError(
                "A frozen feature catalogue was changed",
                code="DP212",
                found=actual,
                expected=digest,
                where=name,
                next_step="reinstall depickle-runtime; changed definitions belong in a new catalogue version",
            )
        self._name = name
        self._digest = digest
        self._definitions = MappingProxyType(by_name)
        self._warm_ups = {definition.name: definition.warm_up for definition in definitions}

    @property
    def name(self) -> str:
        """Name and version, as conversion records write it."""
        return self._name

    @property
    def digest(self) -> str:
        """SHA-256 of all definitions."""
        return self._digest

    @property
    def names(self) -> tuple[str, ...]:
        """All feature names, in the catalogue's order."""
        return tuple(self._definitions)

    def __iter__(self) -> Iterator[Definition]:
        return iter(self._definitions.values())

    def __len__(self) -> int:
        return len(self._definitions)

    def __getitem__(self, name: str) -> Definition:
        """The definition of `name`.

        Raises:
            FeatureError: DP211 where the catalogue has no such feature.
        """
        try:
            return self._definitions[name]
        except KeyError:
            raise self._unknown(name) from None

    def _unknown(self, name: object) -> FeatureError:
        return FeatureError(
            "The catalogue has no such feature",
            code="DP211",
            found=repr(name)[:80],
            where=self._name,
            next_step="see docs/features.md for its names",
        )

    def warm_up(self, names: Sequence[str]) -> int:
        """How many bars a row of these features needs.

        Raises:
            FeatureError: DP211 for an unknown name.
        """
        try:
            return max((self._warm_ups[name] for name in names), default=1)
        except KeyError as error:
            raise self._unknown(error.args[0]) from None

    def row(self, bars: Bars, names: Sequence[str]) -> npt.NDArray[np.float64]:
        """The features at the last bar, in the order of `names`; each of them finite.

        Raises:
            FeatureError: DP208 where there are too few bars, DP209 where a value is undefined on these bars,
                DP211 for an unknown name, DP202 where a column is needed and absent.
        """
        needed = self.warm_up(names)
        if len(bars) < needed:
            raise FeatureError(
                "Too few bars for the features of the model",
                code="DP208",
                found=f"{len(bars)} bars",
                expected=f"{needed} bars",
                where=", ".join(name for name in names if self[name].warm_up > len(bars)),
                next_step="hand over a longer history",
            )
        values = self._values(bars, names)
        undefined = [name for name, value in zip(names, values, strict=True) if math.isnan(value)]
        if undefined:
            raise FeatureError(
                "A feature is undefined on these bars",
                code="DP209",
                found="a flat window or a division by zero",
                where=", ".join(undefined),
                next_step="nothing to repair where the market stood still; check the feed otherwise",
            )
        return np.array(values, dtype=np.float64)

    def matrix(self, bars: Bars, names: Sequence[str]) -> npt.NDArray[np.float64]:
        """A row for every bar, for training: NaN where the value is undefined or short of its warm-up.

        Every row has the bits that `row` gives at that bar, however long the history: one row is computed at
        a time, from its own window.

        Raises:
            FeatureError: DP211 for an unknown name, DP202 where a column is needed and absent.
        """
        matrix = np.full((len(bars), len(names)), np.nan)
        needed = self.warm_up(names)
        window = _Window(bars)
        for at in range(len(bars)):
            matrix[at] = self._values(window.ending_at(at, needed), names)
        return matrix

    def _values(self, bars: Bars, names: Sequence[str]) -> list[float]:
        evaluation = Evaluation(bars)
        definitions, warm_ups = self._definitions, self._warm_ups
        return [
            evaluation.value(definitions[name].formula, definitions[name].guard, warm_ups[name])
            for name in names
        ]


class _Window:
    """Slices of checked bars, without checking them again."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars

    def ending_at(self, at: int, size: int) -> Bars:
        start, stop, bars = max(0, at + 1 - size), at + 1, self._bars
        return Bars(
            bars.open[start:stop],
            bars.high[start:stop],
            bars.low[start:stop],
            bars.close[start:stop],
            None if bars.volume is None else bars.volume[start:stop],
        )


_VERSIONS = {catalogue_1.NAME: catalogue_1}


def catalogue_names() -> tuple[str, ...]:
    """The catalogue versions that this runtime can compute."""
    return tuple(_VERSIONS)


@functools.cache
def catalogue(name: str) -> Catalogue:
    """The catalogue of that name and version.

    Raises:
        FeatureError: DP210 where this runtime has no such catalogue, DP212 where its definitions were changed.
    """
    version = _VERSIONS.get(name)
    if version is None:
        raise FeatureError(
            "This runtime has no such feature catalogue",
            code="DP210",
            found=repr(name)[:80],
            expected=", ".join(_VERSIONS),
            next_step="install the depickle-runtime that the model was trained with",
        )
    return Catalogue(version.NAME, version.DEFINITIONS, version.DIGEST)
