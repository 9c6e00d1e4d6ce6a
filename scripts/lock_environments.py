# SPDX-License-Identifier: Apache-2.0
"""Writes the locks and the version table of the worker environments from the pins below.

    python scripts/lock_environments.py            # everything
    python scripts/lock_environments.py 1.3.2      # the locks of one scikit-learn version

Needs `uv` and the package index. A lock holds exact pins and the hashes of wheels; it names no index. scikit-learn,
numpy and what they need share one lock per scikit-learn version; LightGBM and XGBoost have one each, installed
without their dependencies, so that any two of them can join any scikit-learn.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

from uv import find_uv_bin

FOLDER = Path(__file__).resolve().parent.parent / "converter" / "depickle" / "environments"
PYTHON = "3.11"  # the one Python for which every version below has wheels

# joblib is younger than the rest on purpose: before 1.6 it reads arrays of objects with an unrestricted unpickler.
_COMMON = {"joblib": "1.6.0", "threadpoolctl": "3.8.0", "python-dateutil": "2.9.0.post0", "six": "1.17.0",
           "cloudpickle": "3.1.2"}  # fmt: skip
_PYTZ = {"pytz": "2025.2"}
_TZDATA = {"pytz": "2025.2", "tzdata": "2025.2"}
_1_2 = {"numpy": "1.24.4", "scipy": "1.10.1", "pandas": "1.5.3", **_PYTZ}
_1_3 = {"numpy": "1.26.4", "scipy": "1.11.4", "pandas": "2.1.4", **_TZDATA}
_1_4 = {"numpy": "1.26.4", "scipy": "1.12.0", "pandas": "2.2.3", **_TZDATA}
_1_5 = {"numpy": "2.0.2", "scipy": "1.13.1", "pandas": "2.2.3", **_TZDATA}
_1_6 = {"numpy": "2.2.6", "scipy": "1.15.3", "pandas": "2.2.3", **_TZDATA}
_1_7 = {"numpy": "2.3.5", "scipy": "1.16.3", "pandas": "2.3.3", **_TZDATA}
_1_9 = {"numpy": "2.4.6", "scipy": "1.17.1", "pandas": "3.1.1"}

# scikit-learn version -> (what it stands on, LightGBM of its time, XGBoost of its time)
ENVIRONMENTS: dict[str, tuple[dict[str, str], str, str]] = {
    "1.2.0": (_1_2, "3.3.5", "1.7.6"),
    "1.2.1": (_1_2, "3.3.5", "1.7.6"),
    "1.2.2": (_1_2, "3.3.5", "1.7.6"),
    "1.3.0": (_1_3, "4.1.0", "2.0.3"),
    "1.3.1": (_1_3, "4.1.0", "2.0.3"),
    "1.3.2": (_1_3, "4.1.0", "2.0.3"),
    "1.4.0": (_1_4, "4.3.0", "2.0.3"),
    "1.4.1.post1": (_1_4, "4.3.0", "2.0.3"),
    "1.4.2": (_1_4, "4.3.0", "2.0.3"),
    "1.5.0": (_1_5, "4.5.0", "2.1.4"),
    "1.5.1": (_1_5, "4.5.0", "2.1.4"),
    "1.5.2": (_1_5, "4.5.0", "2.1.4"),
    "1.6.0": (_1_6, "4.6.0", "2.1.4"),
    "1.6.1": (_1_6, "4.6.0", "2.1.4"),
    "1.7.0": (_1_7, "4.6.0", "3.0.5"),
    "1.7.1": (_1_7, "4.6.0", "3.0.5"),
    "1.7.2": (_1_7, "4.6.0", "3.0.5"),
    "1.8.0": (_1_7, "4.6.0", "3.1.3"),
    "1.9.0": (_1_9, "4.7.0", "3.2.0"),
    "1.9.1": (_1_9, "4.7.0", "3.2.0"),
}
BOOSTERS: dict[str, tuple[str, ...]] = {
    "lightgbm": ("3.3.2", "3.3.3", "3.3.4", "3.3.5", "4.0.0", "4.1.0", "4.2.0", "4.3.0", "4.4.0", "4.5.0", "4.6.0",
                 "4.7.0"),
    "xgboost": ("1.6.2", "1.7.1", "1.7.2", "1.7.3", "1.7.4", "1.7.5", "1.7.6", "2.0.0", "2.0.1", "2.0.2", "2.0.3",
                "2.1.0", "2.1.1", "2.1.2", "2.1.3", "2.1.4", "3.0.0", "3.0.1", "3.0.2", "3.0.3", "3.0.4", "3.0.5",
                "3.1.0", "3.1.1", "3.1.2", "3.1.3", "3.2.0"),
}  # fmt: skip

_LINE = re.compile(r"(?:[a-z0-9-]+==[0-9a-z.]+ \\|    --hash=sha256:[0-9a-f]{64}(?: \\)?)\Z")


def lock(pins: dict[str, str]) -> str:
    """The lock of exactly these packages: pins and wheel hashes, nothing else.

    Raises:
        SystemExit: where a version cannot be had, or the resolver says anything but pins and hashes.
    """
    wanted = "".join(f"{name}=={version}\n" for name, version in sorted(pins.items()))
    command = [
        find_uv_bin(), "pip", "compile", "-", "--python-version", PYTHON, "--no-deps", "--generate-hashes",
        "--only-binary", ":all:", "--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links",
        "--no-config", "--quiet",
    ]  # fmt: skip
    done = subprocess.run(command, input=wanted, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"cannot lock {wanted.split()}: {done.stderr}")
    for line in done.stdout.splitlines():
        if not _LINE.match(line):
            sys.exit(f"not a pin nor a hash: {line!r}")
    return done.stdout


def check(pins: dict[str, str], name: str) -> None:
    """Resolve scikit-learn and pandas freely under `pins`: nothing they need may be missing from the lock.

    Raises:
        SystemExit: where the resolver adds a package or finds a conflict.
    """
    wanted = "".join(f"{package}=={version}\n" for package, version in sorted(pins.items()))
    command = [find_uv_bin(), "pip", "compile", "-", "--python-version", PYTHON, "--no-header", "--no-annotate",
               "--no-config", "--quiet", "--only-binary", ":all:"]  # fmt: skip
    done = subprocess.run(command, input=wanted, capture_output=True, text=True, check=False)
    added = {line.split("==")[0] for line in done.stdout.splitlines() if "==" in line} - set(pins)
    if done.returncode or added:
        sys.exit(f"{name}: the pins are not complete: {sorted(added)} {done.stderr}")


def pins_of(version: str) -> dict[str, str]:
    """Every pin of the base lock of one scikit-learn version."""
    return {"scikit-learn": version, **ENVIRONMENTS[version][0], **_COMMON, **_EXTRA.get(version, {})}


# From 1.9 on scikit-learn needs narwhals.
_EXTRA: dict[str, dict[str, str]] = {version: {"narwhals": "2.29.0"} for version in ("1.9.0", "1.9.1")}


def main() -> int:
    """Write the locks that were asked for, and the whole table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("versions", nargs="*", help="scikit-learn versions; all if none")
    chosen = parser.parse_args().versions
    locks = FOLDER / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    for version in chosen or ENVIRONMENTS:
        pins = pins_of(version)
        check(pins, version)
        (locks / f"scikit-learn-{version}.txt").write_text(lock(pins), encoding="utf-8")
    for library, versions in () if chosen else BOOSTERS.items():
        for version in versions:
            (locks / f"{library}-{version}.txt").write_text(lock({library: version}), encoding="utf-8")
    table = {
        "schema_version": 1,
        "python": PYTHON,
        "environments": {
            version: {"packages": pins_of(version), "lightgbm": lightgbm, "xgboost": xgboost}
            for version, (_, lightgbm, xgboost) in ENVIRONMENTS.items()
        },
        "boosters": BOOSTERS,
    }
    (FOLDER / "table.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
