# SPDX-License-Identifier: Apache-2.0
"""A migration is killed (SIGKILL) before every call that changes the disk: no original is lost, a re-run completes.

A helper process imports the converter once and forks a child for each run; the child counts its own calls and kills
itself before the chosen one. Its reference answers come from the unpickled original, since the sandbox is not what
is tested here and its start would be most of the time.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from depickle.sandbox import ReferenceAnswers
from depickle_runtime.loader import SecureModelLoader
from tests.converter.migration_kit import HOSTILE, MigratingHost, package, tree
from tests.model_store_sim import snapshot

ORIGINALS = {
    "EURUSD_a.pkl": package(tree(1)),
    "sub/EURUSD_b.pkl": package(tree(1)),  # the same bytes under another name
    "XAUUSD_c.pkl": package(tree(2), symbol="XAUUSD"),
}
OLD, NEW = ["GBPUSD"], ["EURUSD", "GBPUSD", "XAUUSD"]
REFUSED = 10


class Unpickled:
    """Stands for the sandboxed worker; for files that this test wrote itself."""

    closed = False

    def __enter__(self) -> Unpickled:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def answers(self, vetted: Any, path: Any, rows: Any, *, methods: tuple[str, ...]) -> ReferenceAnswers:
        model = pickle.loads(vetted.data)["pipeline"]
        given = {method: getattr(model, method)(rows) for method in methods}
        return ReferenceAnswers(
            predict=given["predict"], predict_proba=given.get("predict_proba"), decision_function=None
        )


def serve() -> None:
    """The helper: reads ``root kill_at`` from standard input, forks a run, and writes how it ended."""
    import onnxruntime  # noqa: F401  # imported once, here
    import sklearn.tree  # noqa: F401

    from depickle import migrate
    from depickle.commands import main
    from depickle.commands import migrate as command

    assert command.command.name == "migrate"
    migrate.open_worker = lambda environment: Unpickled()  # type: ignore[assignment]
    for line in sys.stdin:
        root, kill_at = line.rsplit(maxsplit=1)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            with open(f"{root}.log", "wb") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            os.environ |= environment(Path(root))
            counter = Counter(int(kill_at))
            try:
                main(["migrate", "--models-dir", f"{root}/models"], prog_name="depickle")
            except SystemExit as leave:
                os.write(writing, f"{leave.code} {counter.calls}".encode())
            os._exit(0)
        os.close(writing)
        _, status = os.waitpid(child, 0)
        with os.fdopen(reading, "rb") as answer:
            told = answer.read().decode() or f"signal {os.WTERMSIG(status)}"
        print(told, flush=True)


class Counter:
    """Counts the calls of this process that change the disk, and kills it before one of them."""

    def __init__(self, kill_at: int) -> None:
        self.calls = 0
        self._kill_at = kill_at
        self._fsync, self._write = os.fsync, os.write
        os.fsync, os.write = self.fsync, self.write  # type: ignore[assignment]
        sys.addaudithook(self.audit)

    def step(self) -> None:
        self.calls += 1
        if self.calls == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def fsync(self, descriptor: int) -> None:
        self.step()
        self._fsync(descriptor)

    def write(self, descriptor: int, data: bytes) -> int:
        self.step()
        if self.calls + 1 == self._kill_at:  # half of it gets there
            data = bytes(data)[: max(1, len(data) // 2)]
        return self._write(descriptor, data)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
            if isinstance(arguments[2], int) and arguments[2] & writes:
                self.step()
        elif event in ("os.rename", "os.remove", "os.mkdir", "os.chmod", "os.utime"):
            self.step()


def environment(root: Path) -> dict[str, str]:
    return {
        "ML_SIGNING_KEY": str(root / "key.pem"),
        "ML_TRUST_POLICY": str(root / "policy.json"),
        "ML_STATE_DIR": str(root / "state"),
    }


@dataclass
class Runs:
    """The helper process, and a folder from which each run starts."""

    helper: subprocess.Popen[str]
    template: Path

    def run(self, root: Path, kill_at: int = 0) -> str:
        assert self.helper.stdin is not None
        assert self.helper.stdout is not None
        self.helper.stdin.write(f"{root} {kill_at}\n")
        self.helper.stdin.flush()
        return self.helper.stdout.readline().strip()

    def fresh(self, root: Path) -> Path:
        shutil.copytree(self.template, root)
        return root

    def check(self, root: Path, kill_at: int) -> bool:
        """Kill one run at one call and run again; whether the new release stood after the kill."""
        self.fresh(root)
        assert self.run(root, kill_at) == f"signal {int(signal.SIGKILL)}"
        assert lost(root) == []
        found = symbols(root)
        assert found in (OLD, NEW)
        left = {name for name in ORIGINALS if not (root / "models" / name).exists()}
        assert not left or found == NEW
        code, _, _ = self.run(root).partition(" ")
        assert code == str(REFUSED), Path(f"{root}.log").read_text()
        assert lost(root) == []
        assert symbols(root) == NEW
        legacy = [name for name in snapshot(root / "models") if name.endswith(".pkl")]
        assert legacy == ["bad.pkl"]
        assert loader(root).orphans() == ()
        # The note of a run that was killed behind its rename names nothing but what is pinned; publishing removes it.
        assert found == NEW or not (root / "models" / ".metadata" / ".unfinished").exists()
        shutil.rmtree(root)
        return found == NEW


def loader(root: Path) -> SecureModelLoader:
    variables = {key: value for key, value in environment(root).items() if key == "ML_TRUST_POLICY"}
    return SecureModelLoader(root / "models", environ=variables, state_dir=root / "trading-state")


def symbols(root: Path) -> list[str]:
    """The symbols that a trading host gets a model for; none may be refused."""
    models, refusals = loader(root).load_current()
    assert refusals == {}
    return sorted(models)


def lost(root: Path) -> list[str]:
    """Originals that stand neither in the models directory nor, byte for byte, in a backup."""
    held = {
        hashlib.sha256(data).hexdigest()
        for folder in (root / "models", *root.glob("models_backup_*"))
        for data in snapshot(folder).values()
    }
    wanted = {**ORIGINALS, "bad.pkl": HOSTILE}
    return [name for name, data in wanted.items() if hashlib.sha256(data).hexdigest() not in held]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    host = MigratingHost(tmp_path_factory.mktemp("template") / "host")
    helper = subprocess.Popen(
        [sys.executable, "-c", "from tests.faults.test_migrate_kill import serve; serve()"],
        cwd=Path(__file__).parents[2],
        env={key: value for key, value in host.environ.items() if not key.startswith("ML_")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    started = Runs(helper, host.root)
    host.put("GBPUSD_old.pkl", package(tree(3), symbol="GBPUSD"))
    assert started.run(host.root).startswith("0 ")
    for backup in host.backups():
        shutil.rmtree(backup)
    for name, data in {**ORIGINALS, "bad.pkl": HOSTILE}.items():
        host.put(name, data)
    yield started
    assert helper.stdin is not None
    helper.stdin.close()
    with helper:  # closes its other end
        assert helper.wait(timeout=30) == 0


def total_calls(runs: Runs, root: Path) -> int:
    code, _, calls = runs.run(runs.fresh(root)).partition(" ")
    assert code == str(REFUSED), Path(f"{root}.log").read_text()
    return int(calls)


def test_a_killed_migration_loses_nothing_and_is_simply_run_again(runs: Runs, tmp_path: Path) -> None:
    total = total_calls(runs, tmp_path / "count")
    # Spread over the run; `test_every_point` takes them all.
    points = sorted({1, *(total * part // 6 for part in range(1, 6)), total})
    outcomes = [runs.check(tmp_path / str(point), point) for point in points]
    assert outcomes[0] is False
    assert outcomes[-1] is True
    assert outcomes == sorted(outcomes)


@pytest.mark.slow
def test_every_point(runs: Runs, tmp_path: Path) -> None:
    total = total_calls(runs, tmp_path / "count")
    outcomes = [runs.check(tmp_path / str(point), point) for point in range(1, total + 1)]
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {False, True}
