# SPDX-License-Identifier: Apache-2.0
"""A migrating host in a folder: keys, policy, state and legacy files, migrated through the product's own code.

The reference answers come from a real confined worker; one is kept warm for the whole test session, since starting
it is most of the time of a small migration.
"""

from __future__ import annotations

import atexit
import datetime as dt
import functools
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner, Result
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from depickle.commands import main
from depickle.environments import running_environment
from depickle.keys import new_key
from depickle.sandbox import Worker, open_worker
from depickle_runtime.loader import SecureModelLoader
from tests.model_store_sim import SECRET

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("rsi_14", "macd_signal", "atr")
HOSTILE = b"\x80\x04cposix\nsystem\n\x8c\x04true\x85R."
"""A pickle that calls ``os.system("true")``; refused as DP420."""


@functools.cache
def _rows() -> tuple[np.ndarray, np.ndarray]:
    rows = np.random.default_rng(7).normal(size=(120, len(NAMES)))
    return rows, (rows[:, 0] + rows[:, 1] > 0).astype(int)


@functools.cache
def tree(seed: int = 0, *, labels: tuple[Any, Any] = (0, 1)) -> Any:
    """A small decision tree, which is proven."""
    rows, y = _rows()
    return DecisionTreeClassifier(max_depth=3, random_state=seed).fit(rows + seed, np.array(labels)[y])


@functools.cache
def logistic() -> Any:
    """A small linear pipeline, which is certified."""
    rows, y = _rows()
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, y)


def package(model: Any = None, **fields: Any) -> bytes:
    """A model package as trading systems of this kind pickle it; a field that is None is left out."""
    held: dict[str, Any] = {
        "pipeline": tree() if model is None else model,
        "symbol": "EURUSD",
        "feature_names": list(NAMES),
        "training_date": dt.datetime(2025, 1, 8, 12, tzinfo=dt.UTC),
        "performance": {"accuracy": 0.75, "trades": 12},
        "metadata": {"version": "v1.3.0", "notes": None},
    } | fields
    return pickle.dumps({key: value for key, value in held.items() if value is not None}, protocol=4)


@functools.cache
def _warm_worker() -> Worker:
    worker = open_worker(running_environment())
    atexit.register(worker.close)
    return worker


class _Shared:
    """The session's worker, handed out to one converter after the other and closed by none of them."""

    closed = False

    def __enter__(self) -> _Shared:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def answers(self, *arguments: Any, **keywords: Any) -> Any:
        return _warm_worker().answers(*arguments, **keywords)


def share_worker(monkeypatch: Any) -> None:
    """Let converters of this test use the session's warm worker."""
    monkeypatch.setattr("depickle.migrate.open_worker", lambda environment: _Shared())


class MigratingHost:
    """A folder with everything that a migration needs.

    Args:
        root: the folder.
        tiers: tiers that the policy admits; the policy's own default where None.
        mode: ``policy`` or ``secret``.
    """

    def __init__(self, root: Path, *, tiers: Sequence[str] | None = None, mode: str = "policy") -> None:
        self.root = root
        self.models = root / "models"
        self.models.mkdir(parents=True)
        own = {
            key: value for key, value in os.environ.items() if not key.startswith(("ML_", "MODEL_", "XDG_"))
        }
        self.environ = own | {
            "XDG_CONFIG_HOME": str(root / "config"),
            "XDG_STATE_HOME": str(root / "xdg-state"),
            "ML_STATE_DIR": str(root / "state"),
        }
        if mode == "secret":
            self.environ["MODEL_SECRET_KEY"] = SECRET
            return
        made = new_key(
            "alice", private_path=root / "key.pem", policy_path=root / "policy.json", store_name="t"
        )
        if tiers is not None:
            held = json.loads(made.policy_path.read_bytes()) | {"admitted_tiers": list(tiers)}
            made.policy_path.write_text(json.dumps(held))
        self.environ |= {"ML_SIGNING_KEY": str(made.private_path), "ML_TRUST_POLICY": str(made.policy_path)}

    def put(self, name: str, data: bytes | None = None) -> Path:
        """Put a legacy file into the models directory; a small package where no bytes are given."""
        path = self.models / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(package() if data is None else data)
        return path

    def run(self, *arguments: str, monkeypatch: Any = None) -> Result:
        """The command, in this process."""
        gone = {key: None for key in os.environ if key.startswith(("ML_", "MODEL_", "XDG_"))}
        return CliRunner(env=gone | self.environ).invoke(main, list(arguments), prog_name="depickle")

    def migrate(self, *options: str) -> tuple[Result, list[dict[str, Any]], dict[str, Any]]:
        """`depickle migrate --format json`: the result, the rows, the summary."""
        result = self.run("migrate", "--models-dir", str(self.models), "--format", "json", *options)
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        return result, lines[:-1], lines[-1]["summary"] if lines else {}

    def spawn(self, *arguments: str, **keywords: Any) -> subprocess.CompletedProcess[str]:
        """The command, in a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", "depickle", *arguments],
            env=self.environ,
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            **keywords,
        )

    def loader(self) -> SecureModelLoader:
        """A trading host's loader."""
        environ = {key: value for key, value in self.environ.items() if key != "ML_SIGNING_KEY"}
        return SecureModelLoader(self.models, environ=environ, state_dir=self.root / "trading-state")

    def backups(self) -> list[Path]:
        """The backup folders, in order."""
        return sorted(self.root.glob("models_backup_*"))

    def legacy(self) -> list[str]:
        """Legacy files that still stand in the models directory."""
        return sorted(path.name for path in self.models.rglob("*") if path.suffix in {".pkl", ".joblib"})
