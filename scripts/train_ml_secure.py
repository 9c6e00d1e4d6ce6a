#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Training under the name that the guide gave it: exactly ``depickle train``, with its flags."""

from __future__ import annotations

import sys

from depickle.commands import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]], prog_name="depickle")
