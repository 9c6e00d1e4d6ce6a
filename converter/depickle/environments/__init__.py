# SPDX-License-Identifier: Apache-2.0
"""Worker environments: an interpreter that holds exactly the library versions that wrote a pickle."""

from __future__ import annotations

from .install import add_environment, environments_folder, list_environments, remove_environment
from .matching import match
from .table import EnvironmentSpec, known_specs, parse_spec
from .worker import WorkerEnvironment, running_environment

__all__ = [
    "EnvironmentSpec",
    "WorkerEnvironment",
    "add_environment",
    "environments_folder",
    "known_specs",
    "list_environments",
    "match",
    "parse_spec",
    "remove_environment",
    "running_environment",
]
