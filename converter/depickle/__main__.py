# SPDX-License-Identifier: Apache-2.0
"""``python -m depickle`` is the command `depickle`."""

from __future__ import annotations

from .commands import main

if __name__ == "__main__":
    main(prog_name="depickle")
