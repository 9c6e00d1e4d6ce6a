# SPDX-License-Identifier: Apache-2.0
"""What a class label means to a trading system: sell, wait or buy; by label, never by column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from depickle_runtime.errors import ConfigurationError
from depickle_runtime.record import Signal

from .errors import ConverterError

__all__ = ["Label", "map_labels", "parse_label_map"]

Label = int | float | str | bool

_SIGNALS: tuple[Signal, ...] = ("sell", "wait", "buy")
_BY_NUMBER: dict[frozenset[float], dict[float, Signal]] = {
    frozenset({-1.0, 0.0, 1.0}): {-1.0: "sell", 0.0: "wait", 1.0: "buy"},
    frozenset({0.0, 1.0}): {0.0: "wait", 1.0: "buy"},
}


def parse_label_map(text: str) -> dict[str, Signal]:
    """Parse ``0=sell,1=wait,2=buy``.

    Raises:
        ConfigurationError: DP931 where it is not of that form.
    """
    mapping: dict[str, Signal] = {}
    for part in text.split(","):
        label, separator, signal = part.partition("=")
        chosen = next((known for known in _SIGNALS if known == signal.strip().lower()), None)
        if not separator or chosen is None or not label.strip() or label.strip() in mapping:
            raise ConfigurationError(
                "The label map cannot be read",
                code="DP931",
                where="--label-map",
                found=part or "nothing",
                expected="LABEL=sell|wait|buy, once per label, separated by commas",
                next_step="--label-map 0=sell,1=wait,2=buy",
            )
        mapping[label.strip()] = chosen
    return mapping


def map_labels(
    classes: Sequence[Label], label_map: Mapping[str, Signal] | None, where: str = ""
) -> list[Signal]:
    """The signal of each class, in the order of `classes`.

    Raises:
        ConverterError: DP811 where a label has no meaning and `label_map` gives it none.
    """
    if label_map is not None:
        by_text = [label_map.get(str(label)) for label in classes]
        missing = [str(label) for label, signal in zip(classes, by_text, strict=True) if signal is None]
        if not missing:
            return [signal for signal in by_text if signal is not None]
        raise _unmapped(classes, where, f"no entry for {', '.join(missing)}")
    if all(isinstance(label, str) for label in classes):
        names = [str(label).lower() for label in classes]
        if set(names) <= set(_SIGNALS) and len(set(names)) == len(names):
            return [next(known for known in _SIGNALS if known == name) for name in names]
    else:
        numbers = [float(label) for label in classes if not isinstance(label, str)]
        table = _BY_NUMBER.get(frozenset(numbers))
        if table is not None and len(numbers) == len(classes):
            return [table[number] for number in numbers]
    raise _unmapped(classes, where, "labels without a known meaning")


def _unmapped(classes: Sequence[Label], where: str, found: str) -> ConverterError:
    shown = ", ".join(str(label) for label in classes[:10])
    example = ",".join(f"{label}=wait" for label in classes[:10])
    return ConverterError(
        "The meaning of the class labels is not known",
        code="DP811",
        where=where,
        found=f"{found}: {shown}",
        expected="-1, 0, 1 or 0, 1 or SELL, WAIT, BUY, or a label map for all of them",
        next_step=f"depickle migrate --label-map {example}  (with sell, wait or buy for each)",
    )
