# SPDX-License-Identifier: Apache-2.0
"""A publishing process is killed (SIGKILL) at every system call that matters: the store is the old or the new one."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from depickle_runtime.store import RELEASE_NAME
from tests.model_store_sim import StoreSimulator, private_pem, snapshot

# Runs in the child: counts the calls that change the disk, and dies before (or half-way through) the chosen one.
CHILD = """
import os, signal, sys
from pathlib import Path
root, kill_at = Path(sys.argv[1]), int(sys.argv[2])
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tests.model_store_sim import StoreSimulator, policy_of
sim = StoreSimulator(root)
sim.key = load_pem_private_key((root / "key.pem").read_bytes(), password=None)
sim.policy = policy_of({"alice": sim.key})
sim.stems = ["taken"]
artefact = sim.artefact("GBPUSD", seed=1)
inside = os.path.realpath(root / "models")
calls = 0
def step(half=None):
    global calls
    calls += 1
    if calls == kill_at:
        if half is not None:
            half()
        os.kill(os.getpid(), signal.SIGKILL)
def of_store(fd):
    return os.path.realpath(f"/proc/self/fd/{fd}").startswith(inside)
real = {name: getattr(os, name) for name in ("write", "fsync", "rename", "open", "unlink")}
def write(fd, data):
    if of_store(fd): step(lambda: real["write"](fd, bytes(data)[: len(data) // 2]))
    return real["write"](fd, data)
def fsync(fd):
    if of_store(fd): step()
    return real["fsync"](fd)
def rename(*a, **k):
    if of_store(k["src_dir_fd"]): step()
    result = real["rename"](*a, **k)
    if of_store(k["src_dir_fd"]): step()
    return result
def open_(path, flags, *a, **k):
    if flags & os.O_CREAT and "dir_fd" in k and of_store(k["dir_fd"]): step()
    return real["open"](path, flags, *a, **k)
def unlink(*a, **k):
    if k.get("dir_fd") is not None and of_store(k["dir_fd"]): step()
    return real["unlink"](*a, **k)
os.write, os.fsync, os.rename, os.open, os.unlink = write, fsync, rename, open_, unlink
sim.publish(artefact)
print(calls)
"""


def run(root: Path, kill_at: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CHILD, str(root), str(kill_at)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
    )


def prepared(root: Path) -> StoreSimulator:
    root.mkdir()
    sim = StoreSimulator(root)
    (root / "key.pem").write_bytes(private_pem(sim.key))
    sim.publish_symbols("EURUSD")
    return sim


def total_calls(root: Path) -> int:
    finished = run(prepared(root).root, 0)
    assert finished.returncode == 0, finished.stderr
    return int(finished.stdout)


def check_point(root: Path, kill_at: int) -> bool:
    """Kill one run at one call; whether the new release stood afterwards."""
    sim = prepared(root)
    before = snapshot(sim.models_dir)
    finished = run(root, kill_at)
    assert finished.returncode == -signal.SIGKILL, finished.stderr
    after = snapshot(sim.models_dir)
    assert {name: after[name] for name in sim.release().files if name in before} == {
        name: before[name] for name in sim.release().files if name in before
    }
    models, refusals = sim.loader().load_current()
    assert refusals == {}
    new = after[RELEASE_NAME] != before[RELEASE_NAME]
    assert sorted(models) == (["EURUSD", "GBPUSD"] if new else ["EURUSD"])
    # A later run clears exactly what the killed one left, and publishes.
    sim.stems = ["taken"]
    sim.publish(*([] if new else [sim.artefact("GBPUSD", seed=1)]))
    assert sorted(sim.loader().load_current()[0]) == ["EURUSD", "GBPUSD"]
    assert sim.store.orphans(sim.release().files) == ()
    assert not sim.path(".metadata/.unfinished").exists()
    assert [name for name in snapshot(sim.models_dir) if name.endswith(".new")] == []
    return new


def test_a_killed_publisher_leaves_the_old_store_or_the_new_one(tmp_path: Path) -> None:
    total = total_calls(tmp_path / "count")
    # First, last, and points spread over the run; `test_every_point` below takes them all.
    points = sorted({2, total // 4, total // 2, (3 * total) // 4, total - 4, total})
    outcomes = [check_point(tmp_path / str(point), point) for point in points]
    assert outcomes[0] is False
    assert outcomes[-1] is True
    assert outcomes == sorted(outcomes)


@pytest.mark.slow
def test_every_point(tmp_path: Path) -> None:
    total = total_calls(tmp_path / "count")
    outcomes = [check_point(tmp_path / str(point), point) for point in range(1, total + 1)]
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {False, True}
