# SPDX-License-Identifier: Apache-2.0
"""One migration in a folder of its own: keys, policy, state and models below it, nothing of the user's touched.

The demo, the sample store and the benchmarks all migrate through this, by the same commands that people type.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .bars import SYMBOLS, load_bars
from .trading_features import FEATURE_NAMES, feature_matrix

__all__ = ["ROOT", "Journey", "JourneyError"]

ROOT = Path(__file__).resolve().parents[1]
_FOREIGN = ("ML_", "MODEL_SECRET", "XDG_")


class JourneyError(Exception):
    """A command ended in a way that it should not."""


@dataclass
class Journey:
    """A folder in which models are migrated.

    Attributes:
        folder: holds everything.
        owner: who signs.
        store_name: name of the store that the policy is for.
        show: whether commands are printed as a person would type them.
    """

    folder: Path
    owner: str = "DEMO operator"
    store_name: str = "demo"
    show: bool = True
    signing_key: Path = field(init=False)
    policy: Path = field(init=False)

    def __post_init__(self) -> None:
        self.signing_key = self.folder / "keys" / "signing-key.pem"
        self.policy = self.folder / "keys" / "policy.json"

    @property
    def models(self) -> Path:
        """The models directory."""
        return self.folder / "models"

    @property
    def state(self) -> Path:
        """What the runtime remembers outside the store."""
        return self.folder / "state"

    @property
    def environment(self) -> dict[str, str]:
        """The process's environment, with the journey's own keys, policy and state."""
        own = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}
        return own | {
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "XDG_STATE_HOME": str(self.state),
            "ML_SIGNING_KEY": str(self.signing_key),
            "ML_TRUST_POLICY": str(self.policy),
            "ML_STATE_DIR": str(self.state),
            "NO_COLOR": "1",
        }

    def run(self, *command: str, expect: Sequence[int] = (0,)) -> str:
        """Runs a command and gives what it answered on standard output.

        Raises:
            JourneyError: if it exits with a code that is not expected.
        """
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, check=False, capture_output=True, text=True
        )
        if done.returncode not in expect:
            raise JourneyError(
                f"{' '.join(command)} exited with {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def depickle(self, *arguments: str, expect: Sequence[int] = (0,)) -> str:
        """The command `depickle`."""
        if self.show:
            shown = [argument.removeprefix(f"{self.folder}/") for argument in arguments]
            print(f"   $ depickle {shlex.join(shown)}")
        return self.run(str(Path(sys.executable).with_name("depickle")), *arguments, expect=expect)

    def new_keys(self) -> None:
        """Makes the signing key and the policy that trusts it."""
        self.depickle(
            "keys", "new", "--owner", self.owner, "--store-name", self.store_name,
            "--key", str(self.signing_key), "--policy", str(self.policy),
        )  # fmt: skip

    def reference_rows(self) -> tuple[Path, int]:
        """Writes the features of all bars of all symbols; the file and the number of rows."""
        path = self.folder / "all-bars.npz"
        rows = np.concatenate([feature_matrix(load_bars(symbol).columns) for symbol in SYMBOLS])
        np.savez(path, X=rows, names=np.array(FEATURE_NAMES))
        return path, len(rows)

    def migrate(
        self, reference_rows: Path, *options: str, expect: Sequence[int] = (0,)
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Migrates the models; a line per file, and the summary."""
        answer = self.depickle(
            "migrate", "--models-dir", str(self.models), "--authorized-by", self.owner,
            "--reference-rows", str(reference_rows), "--format", "json", *options, expect=expect,
        )  # fmt: skip
        if not answer:
            raise JourneyError("depickle migrate gave no answer")
        *lines, summary = [json.loads(line) for line in answer.splitlines()]
        return lines, summary["summary"]
