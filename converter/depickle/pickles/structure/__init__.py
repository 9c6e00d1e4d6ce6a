# SPDX-License-Identifier: Apache-2.0
"""Structure: what the libraries' C code would follow without looking, checked before anything predicts.

No list of names helps against a tree whose child index points outside its array. Each validator takes inert
records and raises `StructureError`; none of them imports the library whose structure it checks.
"""

from .check import check_structure
from .errors import StructureError

__all__ = ["StructureError", "check_structure"]
