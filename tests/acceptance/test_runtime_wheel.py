# SPDX-License-Identifier: Apache-2.0
"""The trading host: the runtime's wheel alone, in a fresh environment, loads a migrated store and predicts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.migrated import SECRET, Host, migrated_journey

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
UNPICKLERS = ("scikit-learn", "joblib", "skops", "pandas", "onnx", "cloudpickle", "dill", "scipy", "depickle")
PREDICTIONS = 100

# Runs on the trading host: nothing of the repository is importable there.
TRADING_CODE = """
import importlib.metadata, importlib.util, json, sys
events = []
sys.addaudithook(lambda event, args: events.append([event, *map(str, args)]) if event.startswith("pickle.") else None)
wanted = json.load(sys.stdin)
complete = None
if wanted["strict"]:
    from depickle_runtime.lockdown import lock_down
    complete = lock_down().complete
from depickle_runtime import create_secure_ml_predictor
predictor = create_secure_ml_predictor(
    models_dir=wanted["models"], db_path=wanted["db"], secret_key=wanted["secret"], trust_policy=wanted["policy"],
    feature_engineer=lambda market_data: market_data,
)
answers = [
    {symbol: predictor.predict_signal(symbol, row)[0] for symbol, row in wanted["rows"].items()}
    for _ in range(wanted["predictions"])
]
unlogged = predictor.close()
installed = {
    d.metadata["Name"].lower(): [
        d.version,
        sum(f.locate().stat().st_size for f in d.files or () if f.suffix != ".pyc" and f.locate().is_file()),
    ]
    for d in importlib.metadata.distributions()
}
importable = [n for n in ("sklearn", "joblib", "skops", "pandas", "onnx", "depickle") if importlib.util.find_spec(n)]
print(json.dumps({
    "answers": answers, "events": events, "installed": installed, "importable": importable, "unlogged": unlogged,
    "complete": complete, "serials": [predictor.get_model_info(s)["serial"] for s in predictor.symbols],
}))
"""


@pytest.fixture(scope="module")
def trading_host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment that has the runtime's wheel and what that asks for; nothing else, not even pip."""
    folder = tmp_path_factory.mktemp("trading-host")
    run(
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(folder),
        str(ROOT / "runtime"),
    )
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "environment", with_pip=False, symlinks=True)
    python = folder / "environment" / "bin" / "python"
    run(
        sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-warn-script-location",
        "--constraint", str(ROOT / "constraints.txt"), str(wheel),
    )  # fmt: skip
    return python


@pytest.fixture
def host(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Host:
    base = tmp_path_factory.getbasetemp()
    return Host(tmp_path, migrated_journey(base if worker_id == "master" else base.parent))


def run(*command: str, stdin: str = "", cwd: Path | None = None) -> str:
    done = subprocess.run(command, input=stdin, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def trade(python: Path, host: Host, *, strict: bool) -> dict[str, Any]:
    wanted = {
        "models": str(host.models),
        "db": str(host.folder / "data" / "trades.db"),
        "policy": str(host.journey.policy),
        "secret": SECRET,
        "rows": host.rows,
        "predictions": PREDICTIONS,
        "strict": strict,
    }
    answer = run(
        str(python), "-I", "-W", "error", "-c", TRADING_CODE, stdin=json.dumps(wanted), cwd=host.folder
    )
    told: dict[str, Any] = json.loads(answer)
    return told


@pytest.mark.parametrize("strict", [False, True], ids=["as usual", "strict mode"])
def test_the_wheel_alone_predicts_as_the_converting_host_does_and_unpickles_nothing(
    strict: bool, trading_host: Path, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    told = trade(trading_host, host, strict=strict)
    here = host.answers(host.predictor())
    assert told["answers"] == [here] * PREDICTIONS
    assert all(isinstance(confidence, float) for confidence in here.values()), here
    assert told["events"] == [], "something was unpickled"
    assert told["unlogged"] == 0
    assert told["complete"] is (True if strict else None)
    assert told["serials"] == [host.release().serial] * len(here)
    assert told["importable"] == []
    assert set(told["installed"]) & set(UNPICKLERS) == set()
    with capsys.disabled():
        print_installed(told["installed"])


def test_the_wheels_command_line_verifies_the_store(trading_host: Path, host: Host) -> None:
    environment = {**os.environ, **host.environment, "ML_STATE_DIR": str(host.folder / "state")}
    command = [trading_host, "-I", "-m", "depickle_runtime", "verify", "--models-dir", host.models]
    done = subprocess.run(
        [*map(str, command), "--format", "json"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["valid"] is True


def print_installed(installed: dict[str, tuple[str, int]]) -> None:
    print("\ninstalled on the trading host (source and data, without bytecode):")
    for name, (version, size) in sorted(installed.items(), key=lambda item: -item[1][1]):
        print(f"  {name:20s} {version:12s} {size / 1e6:7.2f} MB")
    total = sum(size for _, size in installed.values())
    print(f"  {len(installed)} distributions, {total / 1e6:.1f} MB")
