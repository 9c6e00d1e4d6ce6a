# SPDX-License-Identifier: Apache-2.0
"""No hostile legacy file is accepted, has an effect, upsets the gate, or makes it import what the file names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from depickle.pickles import RULES

from .pickle_corpus import INDEX, MARKERS, build, corpus

_ROOT = Path(__file__).resolve().parents[2]
_SECONDS = 2.0
"""Processor time of one file; wall time would measure the neighbours."""
_BITING = frozenset({"runs", "changes", "on use"})
_OWN_IMPORTS = frozenset({"lz4.frame", "...models.ubjson", "numpy._core._methods"})
"""Imports that the gate and numpy make late, of modules that are there already, whatever the file says."""
_DEPICKLE = (sys.executable, "-c", "from depickle.commands import main; main()")

Row = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus")
    build(path)
    return path


@pytest.fixture(scope="module")
def stated(folder: Path) -> dict[str, Row]:
    return {row["file"]: row for row in json.loads((folder / INDEX).read_bytes())["files"]}


@pytest.fixture(scope="module")
def lines(folder: Path) -> list[Row]:
    """What a process of at most 1 GB said of every file, and in the last line of itself."""
    return _run("tests.attacks.scan_corpus", folder)


@pytest.fixture(scope="module")
def judged(lines: list[Row]) -> dict[str, Row]:
    return {row["file"]: row for row in lines[:-1]}


def _run(module: str, folder: Path) -> list[Row]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", module, str(folder)],
        cwd=_ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_corpus_is_large_its_names_are_distinct_and_its_techniques_are_told():
    entries = corpus()
    assert len(entries) >= 170
    assert len({entry.name for entry in entries}) == len(entries)
    assert all(len(entry.technique) >= 3 for entry in entries)
    assert len({entry.advisory for entry in entries if entry.advisory}) >= 40
    assert sum(entry.name.startswith("reexport-") for entry in entries) >= 36
    assert sum(entry.effect in _BITING for entry in entries) >= 150


def test_every_file_is_judged_within_a_gigabyte_and_without_a_traceback(stated, lines, judged):
    assert judged.keys() == stated.keys()
    assert lines[-1]["peak_bytes"] < 1 << 30


def test_no_file_is_accepted(stated, judged):
    """Where the harm lies in numbers only, the model reader may be the one that refuses, before anything predicts."""
    accepted = {name for name, row in judged.items() if row["verdict"] == "accepted"}
    through = {name for name in accepted if "model" not in judged[name]}
    assert through == set()
    assert {name for name in accepted if stated[name]["refused_by"] != "model"} == set()
    # A class without an exact form is no reason: `--accept sampled` would let it through to the worker.
    assert {name for name in accepted if judged[name]["model"] in ("DP600", "DP609")} == set()


def test_every_refusal_names_a_rule_of_the_expected_kind(stated, judged):
    wrong = {
        name: (row["rules"], stated[name]["rule"])
        for name, row in judged.items()
        if row["verdict"] != "accepted"
        and not any(rule.startswith(stated[name]["rule"]) for rule in row["rules"])
    }
    assert wrong == {}
    assert {rule for row in judged.values() for rule in row["rules"]} <= RULES.keys()


def test_the_corpus_reaches_every_rule_of_the_gate(judged):
    reached = {rule for row in judged.values() for rule in row["rules"]}
    absent = RULES.keys() - reached - {"DP406", "DP456", "DP480", "DP481", "DP482"}
    assert absent == set()


def test_no_file_takes_long(judged):
    slow = {name: row["seconds"] for name, row in judged.items() if row["seconds"] >= _SECONDS}
    assert slow == {}


def test_no_file_has_an_effect(folder, judged):
    assert len(judged) == len(corpus())
    assert list((folder / MARKERS).iterdir()) == []


def test_nothing_that_a_file_names_is_imported_opened_or_started(lines):
    """The interpreter audits imports, files, processes, sockets and `pickle.find_class`; the gate causes none."""
    seen = lines[-1]
    assert seen["events"] == []
    assert set(seen["imports"]) <= _OWN_IMPORTS
    assert seen["new_modules"] == []


def test_reports_of_hostile_files_are_text(folder):
    """Names with escapes, surrogates, newlines and markup reach neither a terminal nor JSON as such."""
    names = [
        path
        for path in sorted(folder.glob("*.pkl"))
        if path.name.startswith(("name-", "length-s", "shadow-"))
    ]
    for form in ("text", "json", "sarif"):
        done = subprocess.run(
            [*_DEPICKLE, "scan", "--format", form, *map(str, names)],
            cwd=_ROOT, capture_output=True, check=False,
        )  # fmt: skip
        assert b"Traceback" not in done.stderr, done.stderr[-2000:].decode()
        assert done.returncode == 10
        shown = done.stdout.decode("utf-8", "strict")
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        if form != "text":
            json.loads(shown)
        else:
            assert "\nverdict: accepted" not in shown


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_payloads_are_live(folder, stated):
    """A plain load, in a throwaway process each, has the effect that each entry states; so the corpus bites."""
    found = {row["file"]: row["found"] for row in _run("tests.attacks.detonate", folder)}
    dud = {
        name: (row["effect"], found[name])
        for name, row in stated.items()
        if (row["effect"] in _BITING and found[name] not in ("runs", "changes"))
        or (row["effect"] == "exhausts" and found[name] not in ("exhausts", "crashes"))
    }
    assert dud == {}
    assert sum(effect == "crashes" for effect in found.values()) >= 20
    assert sum(row["effect"] in _BITING for row in stated.values()) >= 150
