# SPDX-License-Identifier: Apache-2.0
"""Runs vetted ONNX bytes under onnxruntime, and nothing else.

Guarantees:

* A session is made of a `VettedOnnx` only: the very bytes that were checked, never a path.
* CPU provider, one thread, no graph rewriting (the graph that runs is the graph that was proven), the ONNX format
  forced, external data pointed at an empty folder, no configuration out of the model or the environment. Every
  setting is read back, because onnxruntime accepts unknown keys without a word.
* A row reaches the graph only if the original model would have taken it: column count, NaN, infinities, range.
* Nothing of onnxruntime's escapes: failures are `ModelContractError`.

>>> session = open_session(check_onnx(data), contract=record.input, outputs=record.outputs)  # doctest: +SKIP
>>> session.run(rows).class_index  # doctest: +SKIP
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as _ort_state

from ._empty_folder import empty_folder
from ._onnx_facts import VettedOnnx
from ._row_guard import RowGuard
from .errors import ModelContractError
from .metrics import NO_METRICS, Metrics
from .record import InputContract, OutputNames

__all__ = ["Answers", "OnnxSession", "RowRunner", "open_session"]

MAX_BATCH_ELEMENTS: Final = 1 << 24
"""Intermediate elements in one call of onnxruntime (128 MB of doubles); larger batches are run in slices."""

MAX_SLICE_ROWS: Final = 16_384
"""Rows in one call of onnxruntime, however small the model."""

DEEP_TREE: Final = 64
"""Depth from which a session is built on a thread with a stack of its own.

onnxruntime reads trees recursively: depth 800 overflowed a 512 KB stack, depth 10,000 one of 8 MB.
"""

BUILD_STACK_BYTES: Final = 16 << 20

_ORT_ERRORS: Final = (
    _ort_state.EPFail,
    _ort_state.EngineError,
    _ort_state.Fail,
    _ort_state.InvalidArgument,
    _ort_state.InvalidGraph,
    _ort_state.InvalidProtobuf,
    _ort_state.ModelLoaded,
    _ort_state.NoModel,
    _ort_state.NoSuchFile,
    _ort_state.NotImplemented,
    _ort_state.RuntimeException,
    RuntimeError,
    ValueError,
    TypeError,
    IndexError,
    MemoryError,
)

_CONFIG: Final = {
    "session.load_model_format": "ONNX",
    "session.set_denormal_as_zero": "0",
    "session.intra_op.allow_spinning": "0",
    "session.inter_op.allow_spinning": "0",
}
_EXTERNAL_FOLDER_KEY: Final = "session.model_external_initializers_file_folder_path"
_MODEL_CONFIG_VARIABLE: Final = "ORT_LOAD_CONFIG_FROM_MODEL"

_build_lock = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a model answered, one entry a row; None where the model has no such output."""

    class_index: npt.NDArray[np.int64] | None
    """[N]: index into the record's classes."""
    probabilities: npt.NDArray[np.floating[Any]] | None
    """[N, C]."""
    scores: npt.NDArray[np.floating[Any]] | None
    """[N, 1] or [N, C]; for regressors the prediction."""
    margin: npt.NDArray[np.float64] | None
    """[N]: the label is certified where this exceeds `bound`."""
    bound: npt.NDArray[np.float64] | None
    """[N]; without a margin: how far a regressor's score may be from the original's."""


_FIELDS: Final = ("class_index", "probabilities", "scores", "margin", "bound")


def _options(folder: str) -> ort.SessionOptions:
    """The only options a session is made with, read back."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    entries = {**_CONFIG, _EXTERNAL_FOLDER_KEY: folder}
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    for key, value in entries.items():
        found = options.get_session_config_entry(key)
        if found != value:
            raise _session_error("onnxruntime did not take a setting", found, value, key, code="DP225")
    if (options.intra_op_num_threads, options.inter_op_num_threads) != (1, 1):
        raise _session_error(
            "onnxruntime did not take a setting", "several threads", "1", "threads", code="DP225"
        )
    return options


def _session_error(
    message: str, found: str, expected: str, where: str, *, code: str = "DP224", next_step: str = ""
) -> ModelContractError:
    return ModelContractError(
        message, code=code, found=found, expected=expected, where=where, next_step=next_step
    )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def _build(data: bytes) -> ort.InferenceSession:
    # Configuration stored in a model is read when this variable is set; the gate refuses such models as well.
    os.environ.pop(_MODEL_CONFIG_VARIABLE, None)
    # Loading from bytes still resolves external data against a folder: give it an empty one.
    options = _options(empty_folder())
    try:
        session = ort.InferenceSession(
            data, sess_options=options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except _ORT_ERRORS as error:
        raise _session_error(
            "onnxruntime cannot open this model",
            _first_line(error),
            "a model that this onnxruntime supports",
            f"onnxruntime {ort.__version__}",
            next_step="convert the model again, or install the onnxruntime named in its record",
        ) from error
    if session.get_providers() != ["CPUExecutionProvider"]:
        raise _session_error(
            "onnxruntime chose another provider",
            ", ".join(session.get_providers()),
            "CPUExecutionProvider",
            "session",
            code="DP225",
        )
    return session


def _build_on_a_large_stack(data: bytes) -> ort.InferenceSession:
    """Build in a thread whose stack does not depend on the platform's default or on the caller's."""
    outcome: list[ort.InferenceSession | BaseException] = []

    def build() -> None:
        try:
            outcome.append(_build(data))
        except BaseException as error:  # handed over to the caller's thread, which raises it
            outcome.append(error)

    with _build_lock:
        before = threading.stack_size(BUILD_STACK_BYTES)
        try:
            thread = threading.Thread(target=build, name="depickle-session")
            thread.start()
        finally:
            threading.stack_size(before)
    thread.join()
    result = outcome[0]
    if isinstance(result, BaseException):
        raise result
    return result


def _check_contract(onnx: VettedOnnx, contract: InputContract, outputs: OutputNames) -> None:
    """The graph's inputs and outputs are those that the record promises."""
    found = [(i.name, i.dtype, i.columns) for i in onnx.inputs]
    expected = [(contract.name, contract.graph_dtype, contract.features)]
    if found != expected:
        raise _session_error(
            "The model's input is not the one of its record", str(found), str(expected), "input", code="DP220"
        )
    kinds = {o.name: o.dtype for o in onnx.outputs}
    wanted = {"class_index": ("int64",), "label": ("int64", "float64", "float32", "str", "bool")}
    for name in ("label", *_FIELDS):
        output: str | None = getattr(outputs, name)
        if output is None:
            continue
        admitted = wanted.get(name, ("float64", "float32"))
        if kinds.get(output) not in admitted:
            raise _session_error(
                f"The model has no output for {name} as its record says",
                f"{output}: {kinds.get(output)}",
                " or ".join(admitted),
                f"output {output}",
                code="DP220",
            )
    if all(getattr(outputs, name) is None for name in _FIELDS):
        raise _session_error("The record names no output", "none", "at least one", "outputs", code="DP220")


def open_session(
    onnx: VettedOnnx, *, contract: InputContract, outputs: OutputNames, metrics: Metrics = NO_METRICS
) -> OnnxSession:
    """Make a session of a vetted file.

    Args:
        onnx: what `check_onnx` returned.
        contract: what a row must look like, from the conversion record.
        outputs: names of the outputs, from the conversion record.
        metrics: where durations are reported.

    Returns:
        A session that answers rows.

    Raises:
        ModelContractError: the graph's inputs or outputs are not those of the record (DP220), onnxruntime cannot
            open it (DP224), did not honour a setting (DP225), or there is no empty folder to open it with (DP238,
            DP239).
    """
    started = time.perf_counter()
    _check_contract(onnx, contract, outputs)
    build = _build_on_a_large_stack if onnx.trees.depth > DEEP_TREE else _build
    session = OnnxSession(build(onnx.data), onnx, contract, outputs)
    metrics.observe("session.open", time.perf_counter() - started)
    metrics.count("session.opened")
    return session


class OnnxSession:
    """An open model. `run` may be called from several threads; a `RowRunner` belongs to one."""

    def __init__(
        self, session: ort.InferenceSession, onnx: VettedOnnx, contract: InputContract, outputs: OutputNames
    ) -> None:
        """Use `open_session`."""
        self.contract: Final = contract
        self.outputs: Final = outputs
        self.sha256: Final = onnx.sha256
        self._session = session
        self._guard = RowGuard(contract)
        # String outputs are never asked for: they cannot be bound, and labels follow from class_index.
        self._names: tuple[str, ...] = tuple(n for n in _FIELDS if getattr(outputs, n) is not None)
        self._fetch: list[str] = [getattr(outputs, n) for n in self._names]
        self._slice = max(1, min(MAX_SLICE_ROWS, MAX_BATCH_ELEMENTS // max(1, onnx.elements_per_row)))
        self._local = threading.local()

    def run(self, X: npt.ArrayLike) -> Answers:
        """Answer a batch of rows.

        Args:
            X: [N, F] numbers, N of at least one.

        Returns:
            One entry a row.

        Raises:
            ModelContractError: wrong shape (DP221), not numbers (DP222), or onnxruntime failed (DP223).
            FeatureError: NaN (DP227), infinities (DP228) or magnitudes (DP229) that the original refuses.
        """
        if type(X) is np.ndarray and X.shape == (1, self.contract.features):
            return self.run_row(X[0])  # half the time: its buffers are bound already
        rows = self._guard.admit(X)
        parts = [self._call(rows[i : i + self._slice]) for i in range(0, len(rows), self._slice)]
        columns = (
            parts[0] if len(parts) == 1 else [np.concatenate(column) for column in zip(*parts, strict=True)]
        )
        return self._answers(columns, len(rows))

    def _call(self, rows: npt.NDArray[np.floating[Any]]) -> list[npt.NDArray[Any]]:
        try:
            return list(self._session.run(self._fetch, {self.contract.name: rows}))
        except _ORT_ERRORS as error:
            raise _run_failed(error) from error

    def _answers(self, columns: Sequence[npt.NDArray[Any]], rows: int) -> Answers:
        named: dict[str, npt.NDArray[Any] | None] = dict.fromkeys(_FIELDS)
        for name, column in zip(self._names, columns, strict=True):
            if column.ndim == 0 or len(column) != rows:
                raise _session_error(
                    "The model answered another number of rows",
                    str(column.shape),
                    str(rows),
                    name,
                    code="DP223",
                )
            named[name] = column
        return Answers(**named)

    def row_runner(self) -> RowRunner:
        """A preallocated path for one row at a time, for one thread."""
        return RowRunner(self)

    def run_row(self, row: npt.ArrayLike) -> Answers:
        """Answer one row of F numbers; like `run` of that one row, in arrays of its own.

        Raises:
            ModelContractError: as `run`.
            FeatureError: as `run`.
        """
        runner: RowRunner | None = getattr(self._local, "runner", None)
        if runner is None:
            runner = self._local.runner = RowRunner(self)
        a = runner(row)
        return Answers(
            None if a.class_index is None else a.class_index.copy(),
            None if a.probabilities is None else a.probabilities.copy(),
            None if a.scores is None else a.scores.copy(),
            None if a.margin is None else a.margin.copy(),
            None if a.bound is None else a.bound.copy(),
        )


def _run_failed(error: BaseException) -> ModelContractError:
    return _session_error(
        "onnxruntime failed on this input", _first_line(error), "an answer", "session.run", code="DP223"
    )


class RowRunner:
    """One row at a time through buffers that are bound once; nothing is allocated for the answer.

    The returned `Answers` is the same object every time and its arrays are overwritten by the next call: read what
    you need before calling again. Not for use from two threads at once.
    """

    def __init__(self, session: OnnxSession) -> None:
        """Use `OnnxSession.row_runner`."""
        contract = session.contract
        self._admit = session._guard.admit_row
        self._input = np.zeros((1, contract.features), dtype=contract.graph_dtype)
        # The graph itself says how wide its outputs are; zeros are admissible to every model.
        columns = session._call(self._input)
        self._buffers = [np.zeros_like(c, order="C") for c in columns]
        binding = session._session.io_binding()
        binding.bind_input(
            contract.name, "cpu", 0, self._input.dtype.type, self._input.shape, self._input.ctypes.data
        )
        for name, buffer in zip(session._fetch, self._buffers, strict=True):
            binding.bind_output(name, "cpu", 0, buffer.dtype.type, buffer.shape, buffer.ctypes.data)
        self._binding = binding
        self._run = session._session.run_with_iobinding
        self._row = self._input[0]
        self._answers = session._answers(self._buffers, 1)

    def __call__(self, row: npt.ArrayLike) -> Answers:
        """Answer one row of F numbers.

        Raises:
            ModelContractError: wrong shape (DP221), not numbers (DP222), or onnxruntime failed (DP223).
            FeatureError: NaN (DP227), infinities (DP228) or magnitudes (DP229) that the original refuses.
        """
        self._admit(row, self._row)
        try:
            self._run(self._binding)
        except _ORT_ERRORS as error:
            raise _run_failed(error) from error
        return self._answers
