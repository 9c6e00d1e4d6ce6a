# SPDX-License-Identifier: Apache-2.0
"""The feature catalogue: names bound to frozen definitions, each over a fixed number of bars."""

from __future__ import annotations

from .catalogue import Catalogue, catalogue, catalogue_names
from .definitions import Definition

__all__ = ["Catalogue", "Definition", "catalogue", "catalogue_names"]
