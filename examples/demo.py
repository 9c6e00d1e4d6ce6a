# SPDX-License-Identifier: Apache-2.0
"""``make demo``: the whole journey on real bars, told as it happens; exits 0 only if it went as it should.

Everything happens below ``.build/demo``, with keys made for the occasion. As it should means: exactly the files
that the estate's manifest names were refused, all others were converted without a label flip and verify, no
payload left a trace, and every symbol got an answer from a process that unpickled nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .bars import SYMBOLS, load_bars
from .legacy_estate.build import FILES, MARKERS
from .legacy_estate.cache import cached_estate, estate_manifest
from .trading_features import FEATURE_NAMES, feature_matrix

_ROOT = Path(__file__).resolve().parents[1]
_REFUSED_BY_GATE = 10


class DemoError(Exception):
    """Something did not go as it should; the demo ends with exit code 1."""


@dataclass
class _Demo:
    """The demo's folder, the estate it migrates, and what its steps found out."""

    folder: Path
    estate: Path
    faults: list[str] = field(default_factory=list)

    @property
    def models(self) -> Path:
        """The models directory of the trading system."""
        return self.folder / "models"

    @property
    def environment(self) -> dict[str, str]:
        """Keys, policy and state of the demo; nothing of the user's own configuration."""
        own = {key: value for key, value in os.environ.items() if not key.startswith(("ML_", "MODEL_SECRET"))}
        return own | {
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "XDG_STATE_HOME": str(self.folder / "state"),
            "ML_SIGNING_KEY": str(self.folder / "keys" / "signing-key.pem"),
            "ML_TRUST_POLICY": str(self.folder / "keys" / "policy.json"),
            "ML_STATE_DIR": str(self.folder / "state"),
            "NO_COLOR": "1",
        }

    def run(self, *command: str, expect: Sequence[int] = (0,)) -> str:
        """Runs one command of the journey and gives what it answered on standard output.

        Raises:
            DemoError: if it exits with a code that is not expected.
        """
        done = subprocess.run(
            command, cwd=_ROOT, env=self.environment, check=False, capture_output=True, text=True
        )
        if done.returncode not in expect:
            raise DemoError(f"{' '.join(command)} exited with {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def depickle(self, *arguments: str, expect: Sequence[int] = (0,)) -> str:
        """The command `depickle`, shown as a person would type it."""
        shown = [argument.removeprefix(f"{self.folder}/") for argument in arguments]
        print(f"   $ depickle {' '.join(shown)}")
        return self.run(str(Path(sys.executable).with_name("depickle")), *arguments, expect=expect)

    def check(self, holds: bool, fault: str) -> None:
        """Notes `fault` unless `holds`."""
        if not holds:
            self.faults.append(fault)
            print(f"   FAULT: {fault}")


def main() -> int:
    """Runs the journey."""
    started = time.monotonic()
    try:
        faults = _journey()
    except DemoError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    seconds = time.monotonic() - started
    if faults:
        print(f"\nThe demo took {seconds:.0f} s and did not go as it should: {len(faults)} faults.")
        return 1
    print(
        f"\nThe demo took {seconds:.0f} s; all of it went as it should. It is all in .build/demo: look around."
    )
    return 0


def _journey() -> list[str]:
    _title(0, "A trading system has piled up pickled models")
    print("   Building them from real bars (hourly EURUSD, daily GOOG, monthly BTCUSD); some are hostile.")
    estate = cached_estate()
    folder = _ROOT / ".build" / "demo"
    shutil.rmtree(folder, ignore_errors=True)
    demo = _Demo(folder, estate)
    shutil.copytree(estate / FILES, demo.models)
    entries = estate_manifest(estate)
    for entry in entries:
        print(f"   {entry['file']:42s} {entry['description']}")

    _title(1, "Scan: what would loading each file do? Nothing is loaded to find out")
    _scan(demo, entries)
    _title(2, "Keys: one private key to publish with, one policy that says whom to believe")
    _keys(demo)
    _title(3, "Plan: what a migration would do")
    _plan(demo)
    _title(4, "Migrate: convert, prove on all bars and every split, sign, publish, back up")
    _migrate(demo, entries)
    _title(5, "Verify: everything that the trading host will check")
    _verify(demo, entries)
    _title(6, "Predict: the last bar of each symbol, in a process that has no unpickler")
    _predict(demo)
    left = sorted(path.name for path in (estate / MARKERS).iterdir())
    demo.check(not left, f"payloads ran: {', '.join(left)}")
    return demo.faults


def _scan(demo: _Demo, entries: list[dict[str, Any]]) -> None:
    answer = json.loads(
        demo.depickle("scan", str(demo.models), "--format", "json", expect=(_REFUSED_BY_GATE,))
    )
    reports = {Path(report["path"]).name: report for report in answer["files"]}
    for entry in entries:
        report = reports[entry["file"]]
        accepted = report["verdict"] == "accepted"
        if entry["scan"] is not None:
            demo.check(
                accepted == (entry["scan"] == "accepted"), f"scan said {report['verdict']}: {entry['file']}"
            )
        if not accepted:
            first = next(finding for finding in report["findings"] if finding["severity"] != "note")
            place = "" if first["offset"] is None else f" at byte {first['offset']} ({first['opcode']})"
            reached = f", would have reached {first['global']}" if first["global"] else ""
            print(f"   refused  {entry['file']:42s} {first['rule']}{place}{reached}")
    accepted_count = sum(report["verdict"] == "accepted" for report in reports.values())
    print(f"   {accepted_count} of {len(reports)} files accepted")


def _keys(demo: _Demo) -> None:
    keys = demo.folder / "keys"
    demo.depickle(
        "keys", "new", "--owner", "DEMO operator", "--store-name", "demo",
        "--key", str(keys / "signing-key.pem"), "--policy", str(keys / "policy.json"),
    )  # fmt: skip
    print("   The private key signs here; the trading host gets the policy alone.")


def _plan(demo: _Demo) -> None:
    answer = json.loads(
        demo.depickle(
            "migrate", "--models-dir", str(demo.models), "--plan", "--format", "json", expect=(0, 10)
        )
    )
    for row in answer["plan"]:
        what = (
            f"{row['symbol']} {row['family']}, {row['tier']}"
            if row["status"] == "would convert"
            else row["code"]
        )
        print(f"   {row['status']:13s} {Path(row['path']).name:42s} {what}")


def _migrate(demo: _Demo, entries: list[dict[str, Any]]) -> None:
    rows = demo.folder / "all-bars.npz"
    bars = [feature_matrix(load_bars(symbol).columns) for symbol in SYMBOLS]
    np.savez(rows, X=np.concatenate(bars), names=np.array(FEATURE_NAMES))
    print(f"   Reference rows: the features of all {sum(map(len, bars))} bars of the three symbols.")
    answer = demo.depickle(
        "migrate", "--models-dir", str(demo.models), "--authorized-by", "DEMO operator",
        "--reference-rows", str(rows), "--format", "json", expect=(_REFUSED_BY_GATE,),
    )  # fmt: skip
    *lines, summary = [json.loads(line) for line in answer.splitlines()]
    outcome = {Path(line["path"]).name: line for line in lines}
    for entry in entries:
        line = outcome[entry["file"]]
        if line["status"] == "converted":
            print(f"   converted {entry['file']:42s} {line['tier']}, {line['label_flips']} label flips")
            demo.check(line["label_flips"] == 0, f"labels flipped: {entry['file']}")
        else:
            print(f"   {line['status']:9s} {entry['file']:42s} {line['code']}: {line['reason'][:90]}")
        expected = entry["migrate"] == "converted"
        demo.check((line["status"] == "converted") == expected, f"{line['status']}: {entry['file']}")
    counts = summary["summary"]
    print(f"   {counts['converted']} converted, {counts['refused']} refused, {counts['failed']} failed")
    left = {path.name for path in demo.models.iterdir() if path.suffix in {".pkl", ".joblib"}}
    wanted = {entry["file"] for entry in entries if entry["migrate"] != "converted"}
    demo.check(left == wanted, "models/ should hold the refused originals and no converted one")
    print(
        f"   The originals are in the backup; models/ keeps the {len(left)} refused ones, which no runtime loads."
    )


def _verify(demo: _Demo, entries: list[dict[str, Any]]) -> None:
    answer = json.loads(demo.depickle("verify", "--models-dir", str(demo.models), "--format", "json"))
    files = answer["files"]
    for name, report in (
        files.items() if isinstance(files, dict) else ((file["path"], file) for file in files)
    ):
        demo.check(not report["errors"], f"does not verify: {name}: {report['errors']}")
    converted = sum(entry["migrate"] == "converted" for entry in entries)
    onnx = sorted(demo.models.glob("*.onnx"))
    demo.check(len(onnx) == converted, f"{len(onnx)} ONNX files for {converted} models")
    print(
        f"   {len(files)} files verify: signature, digests, metadata, whitelist, rules for ONNX, stored answers"
    )


def _predict(demo: _Demo) -> None:
    print("   $ python -m examples.trading_code")
    answer = demo.run(
        sys.executable, "-m", "examples.trading_code",
        "--models-dir", str(demo.models), "--db-path", str(demo.folder / "data" / "trades.db"),
    )  # fmt: skip
    *lines, last = [json.loads(line) for line in answer.splitlines()]
    for line in lines:
        if line["abstained"]:
            verdict = f"no signal ({line['abstained']})"
        else:
            verdict = f"{line['signal']} with confidence {line['confidence']:+.3f}"
        print(f"   {line['symbol']:7s} {line['bar']:20s} {verdict}, by {line['model']} ({line['tier']})")
        known = line["confidence"] is not None or line["abstained"] == "not_certified"
        demo.check(known, f"{line['symbol']}: {line['abstained']}")
    demo.check([line["symbol"] for line in lines] == list(SYMBOLS), "a symbol got no answer")
    demo.check(last["unpickled"] == [], f"the trading process unpickled {last['unpickled'][:3]}")
    print("   No unpickler was asked for anything in that process.")


def _title(number: int, text: str) -> None:
    print(f"\n{number}. {text}")


if __name__ == "__main__":
    raise SystemExit(main())
