# SPDX-License-Identifier: Apache-2.0
"""A worker that can also convert, for models that are not emitted from the inert graph.

It is started only when a fallback conversion is asked for. What it returns is the work of a process that read a
legacy file: the bytes are hostile, and `depickle.emit.fallback` is their only reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from ..errors import SandboxError
from .protocol import parse_conversion
from .refusals import raise_ending, raise_refusal
from .served import SupportsVetted, served_globals, served_modules, stream_of
from .worker import Limits, SupportsEnvironment, Worker

__all__ = ["Conversion", "ConvertingWorker", "open_converting_worker"]


@dataclass(frozen=True)
class Conversion:
    """What a confined child made of a model.

    Attributes:
        onnx: bytes that nobody has looked at yet.
        load_seconds: rebuilding the model, in the child.
        convert_seconds: converting it, in the child.
    """

    onnx: bytes
    load_seconds: float
    convert_seconds: float


class ConvertingWorker(Worker):
    """A warm process with scikit-learn's converters imported; answers like any worker, and converts."""

    _program = Path(__file__).with_name("onnx_worker_main.py")

    def convert(
        self,
        vetted: SupportsVetted,
        estimator_path: Sequence[str | int],
        *,
        columns: int,
        dtype: Literal["float64", "float32"],
        limits: Limits | None = None,
    ) -> Conversion:
        """Have a confined child of its own convert the model.

        Args:
            vetted: the file, past the gate.
            estimator_path: keys from the root of the package to the model; empty for a bare model.
            columns: how many columns a row has.
            dtype: of the input tensor.
            limits: instead of the worker's own.

        Raises:
            GateRefusedError: DP510 where the stream names a global outside its vetted table.
            SandboxError: DP519 where the converter refuses the model; DP501-DP516 where the child cannot rebuild
                it, hangs, dies, or where the reply is not believed.
        """
        asked = limits or self._limits
        table = served_globals(vetted.globals)
        stream = memoryview(stream_of(vetted))
        header = msgspec.json.encode(
            {
                "asks": "onnx",
                "container": vetted.container.partition("+")[0],
                "stream_bytes": stream.nbytes,
                "globals": [(row.module, row.name, row.how) for row in table],
                "path": list(estimator_path),
                "columns": columns,
                "dtype": dtype,
            }
        )
        outcome, reply = self._exchange(
            (len(header).to_bytes(4, "big"), header, stream),
            served_modules(table),
            asked,
            extra_memory=4 * stream.nbytes,
        )
        if not reply or outcome.timed_out:
            raise_ending(outcome, seconds=asked.seconds, where=self._name)
        parsed = parse_conversion(reply)
        if isinstance(parsed[0], str):
            raise_refusal(parsed[0], str(parsed[1]), where=self._name)
        if outcome.exit != 0:
            raise_ending(outcome, seconds=asked.seconds, where=self._name)
        onnx, (load, convert) = parsed
        return Conversion(onnx, float(load), float(convert))


def open_converting_worker(
    environment: SupportsEnvironment, *, limits: Limits | None = None
) -> ConvertingWorker:
    """A warm worker of `environment` that converts as well.

    Raises:
        SandboxError: DP518 where the environment has no converter; as `open_worker` otherwise.
    """
    if environment.name != "running":
        raise SandboxError(
            "The worker's environment has no converter",
            code="DP518",
            where=environment.name,
            found="an environment for another version of the libraries",
            expected="the versions that depickle itself runs with",
            next_step="refit and save the model with the scikit-learn that depickle runs with",
        )
    return ConvertingWorker(environment, limits=limits or Limits(), unconfined=False)
