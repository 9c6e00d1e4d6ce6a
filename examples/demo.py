# SPDX-License-Identifier: Apache-2.0
"""``make demo``: the whole journey on real bars, told as it happens; exits 0 only if it went as it should.

Everything happens below ``.build/demo``, with keys made for the occasion. As it should means: exactly the files
that the estate's manifest names were refused, all others were converted without a label flip and verify, no
payload left a trace, and every symbol got an answer from a process that unpickled nothing.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .bars import SYMBOLS
from .journey import ROOT, Journey, JourneyError
from .legacy_estate.build import FILES, MARKERS
from .legacy_estate.cache import cached_estate, estate_manifest

_REFUSED_BY_GATE = 10


@dataclass
class _Demo:
    """The journey, what the estate's manifest expects of it, and what did not go as it should."""

    journey: Journey
    entries: list[dict[str, Any]]
    faults: list[str] = field(default_factory=list)

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
    except JourneyError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    seconds = time.monotonic() - started
    if faults:
        print(f"\nThe demo took {seconds:.0f} s and did not go as it should: {len(faults)} faults.")
        return 1
    print(f"\nThe demo took {seconds:.0f} s; all of it went as it should. Look around in .build/demo.")
    return 0


def _journey() -> list[str]:
    _title(0, "A trading system has piled up pickled models")
    print(
        "   Training them on real bars (hourly EURUSD, daily GOOG, monthly BTCUSD), hostile ones beside them."
    )
    estate = cached_estate()
    folder = ROOT / ".build" / "demo"
    shutil.rmtree(folder, ignore_errors=True)
    demo = _Demo(Journey(folder), estate_manifest(estate))
    shutil.copytree(estate / FILES, demo.journey.models)
    for entry in sorted(demo.entries, key=lambda entry: str(entry["file"])):
        print(f"   {entry['file']:42s} {entry['description']}")

    _title(1, "Scan: what would loading each file do? Nothing is loaded to find out")
    _scan(demo)
    _title(2, "Keys: one private key to publish with, one policy that says whom to believe")
    demo.journey.new_keys()
    print("   The private key stays here; the trading host gets the policy.")
    _title(3, "Plan: what a migration would do")
    _plan(demo)
    _title(4, "Migrate: convert, prove on every split and on all bars, sign, publish, back up")
    _migrate(demo)
    _title(5, "Verify: everything that the trading host will check")
    _verify(demo)
    _title(6, "Predict: the last bar of each symbol, in a process that has no unpickler")
    _predict(demo)
    left = sorted(path.name for path in (estate / MARKERS).iterdir())
    demo.check(not left, f"payloads ran: {', '.join(left)}")
    return demo.faults


def _scan(demo: _Demo) -> None:
    answer = demo.journey.depickle(
        "scan", str(demo.journey.models), "--format", "json", expect=(_REFUSED_BY_GATE,)
    )
    reports = {Path(report["path"]).name: report for report in json.loads(answer)["files"]}
    for entry in demo.entries:
        report = reports[entry["file"]]
        accepted = report["verdict"] == "accepted"
        if entry["scan"] is not None:
            as_expected = accepted == (entry["scan"] == "accepted")
            demo.check(as_expected, f"scan said {report['verdict']}: {entry['file']}")
        if not accepted:
            first = next(finding for finding in report["findings"] if finding["severity"] != "note")
            place = "" if first["offset"] is None else f" at byte {first['offset']}"
            opcode = f", {first['opcode']}" if first["opcode"] else ""
            reached = f", would have reached {first['global']}" if first["global"] else ""
            print(f"   refused  {entry['file']:42s} {first['rule']}{place}{opcode}{reached}")
    accepted_count = sum(report["verdict"] == "accepted" for report in reports.values())
    print(f"   {accepted_count} of {len(reports)} files accepted, and nothing of any file ran")


def _plan(demo: _Demo) -> None:
    answer = demo.journey.depickle(
        "migrate", "--models-dir", str(demo.journey.models), "--plan", "--format", "json",
        expect=(0, _REFUSED_BY_GATE),
    )  # fmt: skip
    for row in json.loads(answer)["plan"]:
        ready = row["status"] == "would convert"
        what = f"{row['symbol']} {row['family']}, {row['tier']}" if ready else row["code"]
        print(f"   {row['status']:13s} {Path(row['path']).name:42s} {what}")


def _migrate(demo: _Demo) -> None:
    path, count = demo.journey.reference_rows()
    print(
        f"   Reference rows: the features of {count} bars, every bar of the three symbols past the warm-up."
    )
    lines, summary = demo.journey.migrate(path, expect=(_REFUSED_BY_GATE,))
    outcome = {Path(line["path"]).name: line for line in lines}
    refused = []
    for entry in demo.entries:
        line = outcome[entry["file"]]
        if line["status"] == "converted":
            print(f"   converted {entry['file']:42s} {line['tier']}, {line['label_flips']} label flips")
            demo.check(line["label_flips"] == 0, f"labels flipped: {entry['file']}")
        else:
            refused.append(entry["file"])
            print(f"   {line['status']:9s} {entry['file']:42s} {line['code']}")
            print(f"             {line['reason'][:110]}")
    wanted = [entry["file"] for entry in demo.entries if entry["migrate"] != "converted"]
    for name in sorted(set(refused) ^ set(wanted)):
        demo.check(False, f"{outcome[name]['status']}, against the manifest: {name}")
    print(f"   {summary['converted']} converted, {len(refused)} refused: {_kinds(demo.entries, refused)}")

    left = {path.name for path in demo.journey.models.iterdir() if path.suffix in {".pkl", ".joblib"}}
    demo.check(left == set(refused), "models/ should hold the refused originals and no converted one")
    print(
        "   The converted originals are in the backup. The refused files stay where they were, for their owner"
    )
    print("   to decide about; no runtime loads them.")


def _kinds(entries: list[dict[str, Any]], names: list[str]) -> str:
    """How many of the named files are of which kind."""
    counts = Counter(entry["kind"] for entry in entries if entry["file"] in set(names))
    of_kind = {"hostile": "hostile", "foreign-version": "of another library version", "honest": "honest"}
    return ", ".join(f"{counts[kind]} {text}" for kind, text in of_kind.items() if counts[kind])


def _verify(demo: _Demo) -> None:
    answer = demo.journey.depickle("verify", "--models-dir", str(demo.journey.models), "--format", "json")
    reports = json.loads(answer)["files"]
    for report in reports:
        demo.check(report["valid"], f"does not verify: {report}")
    converted = sum(entry["migrate"] == "converted" for entry in demo.entries)
    onnx = list(demo.journey.models.glob("*.onnx"))
    demo.check(len(onnx) == converted, f"{len(onnx)} ONNX files for {converted} models")
    print(
        f"   {len(reports)} files verify: signature, digests, metadata, whitelist, rules for ONNX, stored answers"
    )


def _predict(demo: _Demo) -> None:
    journey = demo.journey
    print("   $ python -m examples.trading_code")
    answer = journey.run(
        sys.executable, "-m", "examples.trading_code",
        "--models-dir", str(journey.models), "--db-path", str(journey.folder / "data" / "trades.db"),
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
