# SPDX-License-Identifier: Apache-2.0
"""Reference answers of the original model, from a confined process with the writer's own library versions."""

from __future__ import annotations

from .worker import (
    METHODS,
    Limits,
    ReferenceAnswers,
    Worker,
    open_worker,
    open_worker_dangerously_unconfined,
)

__all__ = [
    "METHODS",
    "Limits",
    "ReferenceAnswers",
    "Worker",
    "open_worker",
    "open_worker_dangerously_unconfined",
]
