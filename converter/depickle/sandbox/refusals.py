# SPDX-License-Identifier: Apache-2.0
"""Why a worker gave no answer, as one error code for each reason."""

from __future__ import annotations

import signal
from typing import Final, NoReturn

from ..errors import GateRefusedError, SandboxError
from .protocol import Outcome, printable

__all__ = ["raise_ending", "raise_refusal"]

_HOSTILE: Final = "treat the file as hostile; report it if it is an honest model"
# kind → code, sentence, next step
_KINDS: Final = {
    "confinement": (
        "DP501",
        "The worker could not be confined",
        "use a Linux kernel 5.13 or later with Landlock and seccomp on x86-64 or ARM64",
    ),
    "libraries": (
        "DP502",
        "The worker's libraries cannot be imported",
        "remove the environment and add it again",
    ),
    "modules": (
        "DP502",
        "The environment lacks a module that the model needs",
        "add the environment that has the versions which wrote the file",
    ),
    "threads": (
        "DP503",
        "The worker has threads and must not fork",
        "remove the package that starts threads on import from the environment",
    ),
    "memory": ("DP505", "The worker ran out of its memory limit", "raise Limits.memory_bytes"),
    "tripwire": ("DP507", "The model did something that answering never does", _HOSTILE),
    "unreadable": (
        "DP511",
        "The model cannot be rebuilt in the matching environment",
        "check that the environment has the versions which wrote the file",
    ),
    "path": ("DP512", "The package holds nothing at the estimator's path", _HOSTILE),
    "predict": (
        "DP513",
        "The original model fails on these rows",
        "check the rows against what the model was fitted on",
    ),
    "answer": (
        "DP514",
        "The original model answers in a form that has no counterpart",
        "convert single-output models",
    ),
    "converter": (
        "DP518",
        "The worker's environment has no converter",
        "install depickle with its dependencies; only the environment that runs depickle converts",
    ),
    "conversion": (
        "DP519",
        "The converter of the worker does not convert this model",
        "refit with a class of docs/models.md",
    ),
    "request": ("DP516", "The worker refused the request", "report this; it is a fault of depickle"),
}


def raise_refusal(kind: str, detail: str, *, where: str = "") -> NoReturn:
    """Raise the error of a typed refusal.

    Raises:
        GateRefusedError: DP510 for a global outside the vetted table.
        SandboxError: DP501 to DP519 for everything else.
    """
    if kind == "unadmitted":
        raise GateRefusedError(
            "Attempted to load unsafe module",
            code="DP510",
            where=where,
            found=printable(detail),
            expected="only the exact globals that the gate vetted",
            next_step=_HOSTILE,
        )
    if kind not in _KINDS:
        kind, detail = "request", f"{kind}: {detail}"
    code, sentence, step = _KINDS[kind]
    raise SandboxError(sentence, code=code, where=where, found=printable(detail), next_step=step)


def raise_ending(outcome: Outcome, *, seconds: float, where: str = "") -> NoReturn:
    """Raise the error of a child that ended without a reply.

    Raises:
        SandboxError: DP504 out of time, DP505 killed for memory, DP506 killed or crashed.
    """
    if outcome.refused:
        raise_refusal(outcome.refused, outcome.detail, where=where)
    if outcome.timed_out or outcome.signal == signal.SIGXCPU or outcome.cpu_seconds >= seconds:
        raise SandboxError(
            "The model did not answer in time and was killed",
            code="DP504",
            where=where,
            found=f"{outcome.cpu_seconds:.1f} s of CPU time",
            expected=f"an answer within {seconds:g} s",
            next_step="raise Limits.seconds for an honest model of this size",
        )
    if outcome.signal == signal.SIGSYS:
        found = "a system call that no honest model makes (SIGSYS)"
    elif outcome.signal is not None:
        known = {number.value: number.name for number in signal.Signals}
        found = f"killed by {known.get(outcome.signal, f'signal {outcome.signal}')}"
    else:
        found = f"exit status {outcome.exit} without an answer"
    raise SandboxError(
        "The confined worker died on this model", code="DP506", where=where, found=found, next_step=_HOSTILE
    )
