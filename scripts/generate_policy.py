# SPDX-License-Identifier: Apache-2.0
"""Generates one family's policy: the exact globals that honest pickles of its versions name, each with its roles.

Run it with the interpreter of an environment that holds the family's libraries::

    <environment>/bin/python scripts/generate_policy.py sklearn-1.3 --output converter/depickle/pickles/policies

It fits and pickles every estimator, compositions, boosters and what packages carry, walks the opcodes, and fails
where a callable, a hook or a function has not been reviewed in `policy_review`. A second run over another
environment of the same family with ``--merge`` adds to the file.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.metadata
import importlib.util
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import policy_review as review  # noqa: E402  # after the thread counts are set
from policy_fixtures import estimators  # noqa: E402
from policy_objects import around_models, boosters, carried  # noqa: E402
from policy_walk import Global, Uses, joblib_streams, plain_streams, uses  # noqa: E402

LIBRARIES = ("scikit-learn", "numpy", "scipy", "joblib", "pandas", "lightgbm", "xgboost")
HOOKS = ("__setstate__", "__new__", "__del__", "__setattr__")


def _load_names() -> Any:
    """The gate's own list of what no policy may admit, read by path: depickle is not installed here."""
    path = Path(__file__).resolve().parent.parent / "converter" / "depickle" / "pickles" / "names.py"
    spec = importlib.util.spec_from_file_location("depickle_names", path)
    if spec is None or spec.loader is None:
        sys.exit("the gate's names.py is not beside this script")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


names = _load_names()


def forbidden(path: Global, roles: set[str]) -> bool:
    """True where the gate would refuse a policy file with this entry."""
    if path in names.BASE_RULES or (path in names.LANGUAGE_TYPES and roles == {"data"}):
        return False
    return path[0].partition(".")[0] in names.FORBIDDEN_ROOTS or path in names.FORBIDDEN_NAMES


def versions() -> dict[str, str]:
    """The installed versions of the libraries that a policy speaks of."""
    found = {}
    for library in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[library] = importlib.metadata.version(library)
    return found


def collect(fixtures: Iterator[tuple[str, Any]], into: Uses, first: dict[Global, str], *, talk: bool) -> int:
    """Pickle every fixture in every encoding and add what it names to `into`.

    Returns:
        how many fixtures were pickled.
    """
    count = 0
    started = time.monotonic()
    for name, value in fixtures:
        try:
            streams = [*plain_streams(value, range(6)), *joblib_streams(value), *joblib_streams(value, 2)]
        except Exception as error:
            # A lambda, a lock: nobody has a pickle of it either.
            if talk:
                sys.stderr.write(f"not picklable: {name}: {type(error).__name__}\n")
            continue
        count += 1
        named: Uses = {}
        try:
            for stream in streams:
                for path, roles in uses(stream).items():
                    named.setdefault(path, set()).update(roles)
        except ValueError as error:
            sys.stderr.write(f"left out: {name}: {error}\n")
            continue
        refused = sorted(full for path in named if review.refused(full := ".".join(review.modern(path))))
        if refused:
            sys.stderr.write(f"left out: {name}: names {', '.join(refused)}\n")
            continue
        for path, roles in named.items():
            into.setdefault(path, set()).update(roles)
            first.setdefault(path, name)
    sys.stderr.write(f"{count} objects in {time.monotonic() - started:.0f} s\n")
    return count


def resolve(path: Global) -> Any:
    """The object behind a global in this environment; imports it, as the pickles that we just wrote would."""
    module, name = review.modern(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value: Any = importlib.import_module(module)
        for part in name.split("."):
            value = getattr(value, part)
    return value


def unreviewed(found: Uses, first: dict[Global, str]) -> list[str]:
    """What no reviewer has admitted yet: callables, hooks that run on load, functions kept as data."""
    faults: dict[str, str] = {}
    for path in sorted(found):
        module, name = review.modern(path)
        full = f"{module}.{name}"
        value = resolve(path)
        if "." in name:
            faults.setdefault(f"dotted name {full}", first[path])
        if "called" in found[path] and not review.reason_to_call(full):
            faults.setdefault(f"called {full}", first[path])
        if isinstance(value, type):
            if found[path] & {"created", "called"} and review.rule(path) != "inert":
                for hook in hooks(value):
                    if not review.reason_for_hook(hook):
                        faults.setdefault(f"hook {hook}", f"of {full}, from {first[path]}")
        elif "data" in found[path] and not review.reason_to_keep(full):
            faults.setdefault(f"kept {full}", first[path])
        if forbidden(path, found[path]):
            faults.setdefault(
                f"forbidden by depickle.pickles.names: {full} as {sorted(found[path])}", first[path]
            )
    return [f"{fault} ({where})" for fault, where in sorted(faults.items())]


def hooks(cls: type) -> list[str]:
    """Methods that a load of an instance would run, or that its state goes through, named by where they stand."""
    found = []
    for hook in HOOKS:
        owner = next((base for base in cls.__mro__ if hook in vars(base)), object)
        if owner.__module__ != "builtins" and (owner.__module__, owner.__name__) not in names.BASE_RULES:
            found.append(f"{owner.__module__}.{owner.__qualname__}.{hook}")
    return found


def main() -> int:
    """Write the policy, or say what is unreviewed and write nothing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("family", help="name of the policy, such as sklearn-1.3")
    parser.add_argument("--output", type=Path, required=True, help="folder of the policies")
    parser.add_argument("--merge", action="store_true", help="add to the file that is there")
    parser.add_argument("--quick", action="store_true", help="leave the estimators out (to try the script)")
    parser.add_argument("--talk", action="store_true", help="name what could not be pickled")
    arguments = parser.parse_args()
    found: Uses = {}
    first: dict[Global, str] = {}
    for source in (carried, around_models, boosters, *(() if arguments.quick else (estimators,))):
        collect(source(), found, first, talk=arguments.talk)
    faults = unreviewed(found, first)
    if faults:
        sys.stderr.write(
            "\n".join(sorted(set(faults))) + f"\n{len(set(faults))} unreviewed; nothing was written\n"
        )
        return 1
    target = arguments.output / f"{arguments.family}.json"
    environment = versions()
    if arguments.merge and target.exists():
        before = json.loads(target.read_text(encoding="utf-8"))
        for entry in before["globals"]:
            found.setdefault((entry["module"], entry["name"]), set()).update(entry["roles"])
        for library, version in before["versions"].items():
            if version not in environment.get(library, ""):
                environment[library] = (
                    f"{version}, {environment[library]}" if library in environment else version
                )
    target.write_text(encode(arguments.family, environment, found), encoding="utf-8")
    sys.stderr.write(f"{len(found)} globals\n")
    return 0


def encode(family: str, environment: dict[str, str], found: Uses) -> str:
    """The policy as sorted JSON, one global a line; byte for byte what `encode_policy_file` writes."""
    rows = ",\n".join(
        "    "
        + _compact(
            {"module": path[0], "name": path[1], "roles": sorted(found[path]), "rule": review.rule(path)}
        )
        for path in sorted(found)
    )
    return (
        f'{{\n  "schema_version": 1,\n  "family": {json.dumps(family)},\n'
        f'  "versions": {_compact(dict(sorted(environment.items())))},\n  "globals": [\n{rows}\n  ]\n}}\n'
    )


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


if __name__ == "__main__":
    sys.exit(main())
