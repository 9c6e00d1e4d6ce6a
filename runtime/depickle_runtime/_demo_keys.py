# SPDX-License-Identifier: Apache-2.0
"""Identifiers of the keys whose private halves are public, because the demo ships them.

They are believed under a policy whose store name begins with ``demo``, and refused everywhere else.
"""

from __future__ import annotations

__all__ = ["DEMO_KEY_IDS"]

DEMO_KEY_IDS = frozenset(
    {
        # examples/keys/demo-signing-key.pem
        "0095942543dd0f488628b7a3f20e50e311d1ae74f42d22880274b8627123278d",
    }
)
