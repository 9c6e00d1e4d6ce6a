# SPDX-License-Identifier: Apache-2.0
"""skops files: written from the inert graph for the auditor; nothing here ever loads one."""

from __future__ import annotations

from .write import write_skops

__all__ = ["write_skops"]
