# SPDX-License-Identifier: Apache-2.0
"""Reference answers from a confined process that has the library versions which wrote the model.

Rules:

1. The interpreter runs isolated (``-I -B``), with an empty environment, in a session of its own, with one socket
   and no other descriptor. Closing the worker, or any doubt about it, kills the whole group.
2. The model goes to the child through a sealed file without a name; the reply comes back through a pipe that this
   side reads to a cap and a deadline of its own.
3. Only flat data is believed, and only after `protocol` has read it as hostile input.
4. A worker that cannot confine its children refuses at the start. `open_worker_dangerously_unconfined` exists for
   systems without Landlock and seccomp; it warns and logs each time.

Example::

    with open_worker(environment) as worker:
        answers = worker.answers(vetted, ("pipeline",), rows, methods=("predict", "predict_proba"))
        answers.predict
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Literal, NoReturn, Protocol, Self

import msgspec
import numpy as np
import numpy.typing as npt

from ..errors import SandboxError
from .protocol import (
    MAX_HELLO_BYTES,
    Hello,
    Outcome,
    Refused,
    parse_hello,
    parse_outcome,
    parse_reply,
    printable,
)
from .refusals import raise_ending, raise_refusal
from .served import SupportsVetted, served_globals, served_modules, stream_of
from .worker_main import UNCONFINED_FLAG

__all__ = [
    "METHODS",
    "Limits",
    "ReferenceAnswers",
    "SupportsEnvironment",
    "Worker",
    "open_worker",
    "open_worker_dangerously_unconfined",
]

_logger = logging.getLogger(__name__)

METHODS: Final = ("predict", "predict_proba", "decision_function", "score_samples", "transform", "raw_score")
"""What a model can be asked; `raw_score` is the margin of a LightGBM or XGBoost model."""

_WORKER_MAIN: Final = Path(__file__).with_name("worker_main.py")
_STARTUP_SECONDS: Final = 120.0
"""A cold import of every library from a slow disk took 20 s; six times that is a hang."""
_GRACE_SECONDS: Final = 5.0
"""What the warm process has, past the limit, to report that it killed a child."""
_MAX_REPLY_BYTES: Final = 1 << 30
_BYTES_PER_ANSWER: Final = 8
_CHUNK: Final = 1 << 20


class SupportsEnvironment(Protocol):
    """What a worker needs of a `WorkerEnvironment`."""

    @property
    def python(self) -> Path:
        """Absolute path of the environment's interpreter."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def versions(self) -> Mapping[str, str]:
        """Library to version; what the worker reports must agree with each entry that it reports too."""


@dataclass(frozen=True)
class Limits:
    """What one model may use.

    Attributes:
        seconds: wall-clock and CPU time for loading and answering.
        memory_bytes: address space above that of the warm process; four times the stream is added.
        reply_bytes: the largest reply that is read.
    """

    seconds: float = 120.0
    memory_bytes: int = 2 << 30
    reply_bytes: int = 256 << 20


@dataclass(frozen=True)
class ReferenceAnswers:
    """What the original model answered; arrays are read-only.

    Attributes:
        predict: labels or values as int64, float64 or text; None where it was not asked.
        predict_proba: float64 by row and class, or None where the model has no such method.
        decision_function: float64, or None.
        others: `score_samples`, `transform`, `raw_score` where asked and present.
        dtypes: the dtype of each method's answer as the model gave it (``<f4``, ``|b1``, ``text`` …).
        alone: the same questions asked row by row, where that was asked for.
        load_seconds: rebuilding the model, in the child.
        answer_seconds: answering, in the child.
        total_seconds: the whole request, measured here.
        peak_bytes: the largest resident size of the child.
    """

    predict: npt.NDArray[Any] | None
    predict_proba: npt.NDArray[np.float64] | None
    decision_function: npt.NDArray[np.float64] | None
    others: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    dtypes: Mapping[str, str] = field(default_factory=dict)
    alone: ReferenceAnswers | None = None
    load_seconds: float = 0.0
    answer_seconds: float = 0.0
    total_seconds: float = 0.0
    peak_bytes: int = 0


class Worker:
    """One warm process of one environment. Use as a context manager; not for use from several threads at once."""

    _program = _WORKER_MAIN

    def __init__(self, environment: SupportsEnvironment, *, limits: Limits, unconfined: bool) -> None:
        """Start the process and wait until it is warm; see `open_worker`."""
        self._name = environment.name
        self._limits = limits
        self._requests = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed by close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._control = ours
        command = [os.fspath(environment.python), "-I", "-B", os.fspath(self._program)]
        try:
            with theirs:
                self._process = subprocess.Popen(
                    command + ([UNCONFINED_FLAG] if unconfined else []),
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=self._stderr,
                    cwd="/",
                    env={"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"},
                    close_fds=True,
                    start_new_session=True,
                )
        except (OSError, ValueError) as error:
            self.close()
            raise SandboxError(
                "The worker's interpreter cannot be started",
                code="DP500",
                where=self._name,
                found=f"{environment.python}: {error}",
                next_step="remove the environment and add it again",
            ) from error
        try:
            self._hello = self._greeting(unconfined=unconfined)
            self._compare_versions(environment.versions)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill the process and everything it started. Safe to call again."""
        self._control.close()
        process, self._process = self._process, None
        if process is not None:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):  # it ended by itself, or is a zombie on macOS
                _logger.debug("worker %s had ended", self._name)
            process.wait()
        self._stderr.close()

    @property
    def closed(self) -> bool:
        """Whether the process was ended; a closed worker answers nothing more."""
        return self._process is None

    def versions(self) -> Mapping[str, str]:
        """Library to version, and ``python``, as the worker itself reports them."""
        return dict(self._hello.versions)

    def confinement(self) -> Mapping[str, str]:
        """How its children are confined, as proved by a trial child at the start; empty where they are not."""
        proved = self._hello.confinement
        if proved is None:
            return {}
        return {"landlock": str(proved.landlock), "seccomp": "allowlist", "machine": proved.machine}

    def answers(
        self,
        vetted: SupportsVetted,
        estimator_path: Sequence[str | int],
        rows: npt.NDArray[np.float64] | npt.NDArray[np.float32],
        *,
        methods: tuple[str, ...] = ("predict", "predict_proba", "decision_function"),
        one_by_one: bool = False,
        frame: Literal["auto", "always", "never"] = "auto",
        limits: Limits | None = None,
    ) -> ReferenceAnswers:
        """Ask the original model, in a confined child of its own.

        Args:
            vetted: the file, past the gate.
            estimator_path: keys from the root of the package to the model; empty for a bare model.
            rows: float64 or float32, one row per question.
            methods: which of `METHODS`; one that the model lacks is answered with None.
            one_by_one: ask each row alone as well.
            frame: whether the rows become a data frame with the model's own column names; ``auto`` where a
                column transformer chooses by name.
            limits: instead of the worker's own.

        Raises:
            GateRefusedError: DP510 where the stream names a global outside its vetted table.
            SandboxError: DP501–DP519 where the model cannot be rebuilt, cannot answer, hangs, dies, or where the
                reply is not believed.
        """
        began = time.perf_counter()
        asked = limits or self._limits
        given = self._checked_rows(rows, methods)
        table = served_globals(vetted.globals)
        stream = memoryview(stream_of(vetted))
        header = msgspec.json.encode(
            {
                "asks": "answers",
                "container": vetted.container.partition("+")[0],
                "stream_bytes": stream.nbytes,
                "globals": [(row.module, row.name, row.how) for row in table],
                "path": list(estimator_path),
                "rows": {"dtype": given.dtype.str, "shape": list(given.shape)},
                "methods": list(methods),
                "one_by_one": one_by_one,
                "frame": frame,
            }
        )
        outcome, reply = self._exchange(
            (len(header).to_bytes(4, "big"), header, stream, memoryview(given.tobytes())),
            served_modules(table),
            asked,
            extra_memory=4 * stream.nbytes,
        )
        if not reply or outcome.timed_out:
            raise_ending(outcome, seconds=asked.seconds, where=self._name)
        parsed = parse_reply(reply, rows=given.shape[0], methods=methods, one_by_one=one_by_one)
        if isinstance(parsed[0], str):
            raise_refusal(parsed[0], str(parsed[1]), where=self._name)
        if outcome.exit != 0:
            raise_ending(outcome, seconds=asked.seconds, where=self._name)
        arrays, (load, answer) = parsed
        shared: dict[str, Any] = {
            "load_seconds": float(load),
            "answer_seconds": float(answer),
            "total_seconds": time.perf_counter() - began,
            "peak_bytes": outcome.peak_kilobytes * 1024,
        }
        alone = _collect(arrays, "alone", shared, None) if one_by_one else None
        return _collect(arrays, "batch", shared, alone)

    def _checked_rows(self, rows: npt.NDArray[Any], methods: tuple[str, ...]) -> npt.NDArray[Any]:
        unknown = [method for method in methods if method not in METHODS]
        if rows.ndim != 2 or rows.dtype not in (np.float64, np.float32) or not rows.size or unknown:
            raise SandboxError(
                "The worker cannot be asked this",
                code="DP516",
                where=self._name,
                found=f"rows {rows.dtype} {rows.shape}, methods {', '.join(map(str, methods))}",
                expected=f"a float64 or float32 matrix with rows, methods of {', '.join(METHODS)}",
            )
        if len(set(methods)) != len(methods):
            raise SandboxError("A method is asked twice", code="DP516", where=self._name, found=repr(methods))
        return np.ascontiguousarray(rows, dtype=rows.dtype.newbyteorder("<"))

    def _exchange(
        self, parts: Sequence[bytes | memoryview], modules: list[str], limits: Limits, *, extra_memory: int
    ) -> tuple[Outcome, bytes]:
        if self._process is None:
            raise SandboxError("The worker is closed", code="DP515", where=self._name)
        self._requests += 1
        message = msgspec.json.encode(
            {
                "version": 1,
                "id": self._requests,
                "modules": modules,
                "request_bytes": sum(len(part) for part in parts),
                "limits": {
                    "memory_bytes": limits.memory_bytes + extra_memory,
                    "cpu_seconds": int(limits.seconds) + 1,
                    "wall_seconds": limits.seconds,
                },
            }
        )
        try:
            request = _sealed(parts)
            try:
                reading, writing = os.pipe()
                try:
                    framed = len(message).to_bytes(4, "big") + message
                    sent = socket.send_fds(self._control, [framed], [request, writing])
                    self._control.sendall(framed[sent:])
                finally:
                    os.close(writing)
            finally:
                os.close(request)
            deadline = time.monotonic() + limits.seconds + _GRACE_SECONDS
            try:
                reply = self._read_reply(reading, limits, deadline)
            finally:
                os.close(reading)
            outcome = parse_outcome(self._frame(deadline, MAX_HELLO_BYTES), self._requests)
        except OSError as error:
            self._gone(error)
        except BaseException:
            self.close()  # whatever happened in between, the next request must not meet its remains
            raise
        return outcome, reply

    def _read_reply(self, reading: int, limits: Limits, deadline: float) -> bytes:
        """Everything up to the end; one byte past the cap, or the deadline, ends the worker."""
        cap = min(limits.reply_bytes, _MAX_REPLY_BYTES)
        parts: list[bytes] = []
        size = 0
        while True:
            self._await(reading, deadline)
            part = os.read(reading, _CHUNK)
            if not part:
                return b"".join(parts)
            parts.append(part)
            size += len(part)
            if size > cap:
                raise SandboxError(
                    "The worker's answer is too large; it is not read",
                    code="DP509",
                    where=self._name,
                    found=f"more than {cap} bytes",
                    next_step="ask fewer rows, or raise Limits.reply_bytes",
                )

    def _await(self, descriptor: int, deadline: float) -> None:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        left = deadline - time.monotonic()
        if left <= 0 or not poller.poll(left * 1000):
            raise SandboxError(
                "The worker did not answer in time and was killed",
                code="DP504",
                where=self._name,
                next_step="raise Limits.seconds for an honest model of this size",
            )

    def _frame(self, deadline: float, cap: int) -> bytes:
        """One message of the warm process."""
        head = self._exactly(4, deadline)
        length = int.from_bytes(head, "big")
        if length > cap:
            raise SandboxError(
                "The worker's answer is malformed; it is not believed",
                code="DP508",
                where=self._name,
                found=f"a message of {length} bytes",
                expected=f"at most {cap}",
            )
        return self._exactly(length, deadline)

    def _exactly(self, size: int, deadline: float) -> bytes:
        data = b""
        while len(data) < size:
            self._await(self._control.fileno(), deadline)
            part = self._control.recv(size - len(data))
            if not part:
                self._gone(None)
            data += part
        return data

    def _gone(self, error: OSError | None) -> NoReturn:
        """The warm process hung up; say what it wrote to its standard error."""
        self._stderr.seek(max(0, self._stderr.seek(0, os.SEEK_END) - 300))
        last = printable(self._stderr.read(300).decode("utf-8", "replace").strip().rpartition("\n")[2])
        self.close()
        raise SandboxError(
            "The worker ended by itself",
            code="DP515",
            where=self._name,
            found=last or (str(error) if error else "no message"),
            next_step="open a new worker; if it ends again, remove the environment and add it again",
        ) from error

    def _greeting(self, *, unconfined: bool) -> Hello:
        try:
            hello = parse_hello(self._frame(time.monotonic() + _STARTUP_SECONDS, MAX_HELLO_BYTES))
        except OSError as error:
            self._gone(error)
        if isinstance(hello, Refused):
            raise_refusal(hello.refused, hello.detail, where=self._name)
        if hello.confinement is None and not unconfined:
            raise_refusal("confinement", "the worker does not say how it is confined", where=self._name)
        return hello

    def _compare_versions(self, expected: Mapping[str, str]) -> None:
        for library, version in sorted(expected.items()):
            found = self._hello.versions.get(library)
            if found is not None and found != version:
                raise SandboxError(
                    "The environment is not what it says it is",
                    code="DP517",
                    where=f"{self._name}, {library}",
                    found=printable(found),
                    expected=version,
                    next_step="remove the environment and add it again",
                )


def open_worker(environment: SupportsEnvironment, *, limits: Limits | None = None) -> Worker:
    """A warm worker of `environment`, ready to be asked.

    Raises:
        SandboxError: DP500 the interpreter cannot be started, DP501 its children cannot be confined, DP502 its
            libraries cannot be imported, DP503 they start threads, DP517 other versions than the environment's.
    """
    return Worker(environment, limits=limits or Limits(), unconfined=False)


def open_worker_dangerously_unconfined(
    environment: SupportsEnvironment, *, limits: Limits | None = None
) -> Worker:
    """A worker whose children are **not** confined, for systems that offer no confinement.

    A hostile file that passes the gate can then do whatever this user can do.

    Raises:
        SandboxError: as `open_worker`, DP501 excepted.
    """
    warnings.warn(
        "depickle: legacy models will be rebuilt WITHOUT a sandbox; only the static gate stands in between",
        RuntimeWarning,
        stacklevel=2,
    )
    _logger.critical("worker %s runs WITHOUT a sandbox, as explicitly asked", environment.name)
    return Worker(environment, limits=limits or Limits(), unconfined=True)


def _sealed(parts: Sequence[bytes | memoryview]) -> int:
    """A descriptor of a file without a name that holds `parts`, placed at its start; sealed where memfd exists."""
    if hasattr(os, "memfd_create"):
        import fcntl

        held = os.memfd_create("depickle-request", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    else:
        with tempfile.TemporaryFile() as unnamed:
            held = os.dup(unnamed.fileno())
    try:
        for part in parts:
            left = memoryview(part)
            while left:
                left = left[os.write(held, left) :]
        os.lseek(held, 0, os.SEEK_SET)
        if hasattr(os, "memfd_create"):
            seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
            fcntl.fcntl(held, fcntl.F_ADD_SEALS, seals)
    except BaseException:
        os.close(held)
        raise
    return held


def _collect(
    arrays: Mapping[tuple[str, str], npt.NDArray[Any]],
    form: str,
    shared: Mapping[str, Any],
    alone: ReferenceAnswers | None,
) -> ReferenceAnswers:
    found: dict[str, npt.NDArray[Any]] = {}
    dtypes: dict[str, str] = {}
    for (method, its_form), values in arrays.items():
        if its_form != form:
            continue
        dtypes[method] = "text" if values.dtype.kind == "U" else values.dtype.str
        if values.dtype.kind in "biu":
            values = values.astype(np.float64 if method != "predict" else np.int64)
        elif values.dtype.kind == "f":
            values = values.astype(np.float64)  # widening is exact
        values.flags.writeable = False
        found[method] = values
    return ReferenceAnswers(
        predict=found.pop("predict", None),
        predict_proba=found.pop("predict_proba", None),
        decision_function=found.pop("decision_function", None),
        others=found,
        dtypes=dtypes,
        alone=alone,
        **shared,
    )
