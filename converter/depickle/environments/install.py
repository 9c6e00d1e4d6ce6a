# SPDX-License-Identifier: Apache-2.0
"""Adds, lists and removes worker environments: built aside from shipped locks, then renamed into place.

* Only wheels, only with the hashes of the lock (`--require-hashes --only-binary :all: --no-deps`): no build script
  of a package runs.
* The interpreter is one that is already on this machine; none is downloaded.
* An environment is used only if its record names the lock that this release ships for it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from ..errors import EnvironmentMissingError
from .table import EnvironmentSpec, lock_text, parse_spec, python_version
from .worker import WorkerEnvironment

__all__ = ["add_environment", "environments_folder", "list_environments", "remove_environment"]

_RECORD = "environment.json"
_BUILDING = ".building-"

#: Seconds; the largest wheel (XGBoost) is about 250 MB, this allows for 0.5 MB/s of it all.
INSTALL_TIMEOUT = 1800
#: Bytes of an installer's complaint that an error repeats.
_TAIL = 600

# Runs in the new interpreter: imports what a worker imports, so that a library the system lacks is found now.
_PROBE = """
import json, platform, sys, warnings
warnings.simplefilter("ignore")
import importlib.metadata as metadata
import joblib, lightgbm, numpy, pandas, scipy, sklearn, threadpoolctl, xgboost
found = {d.metadata["Name"].lower().replace("_", "-"): d.version for d in metadata.distributions()}
json.dump({"versions": found, "python": platform.python_version()}, sys.stdout)
"""


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema_version: int
    name: str
    lock_sha256: str
    python: str
    versions: dict[str, str]


def environments_folder() -> Path:
    """Where environments live: ``DEPICKLE_ENVIRONMENTS``, else the user's data folder (XDG)."""
    chosen = os.environ.get("DEPICKLE_ENVIRONMENTS")
    if chosen:
        return Path(chosen).absolute()
    data = os.environ.get("XDG_DATA_HOME")
    base = Path(data) if data and Path(data).is_absolute() else Path.home() / ".local" / "share"
    return base / "depickle" / "environments"


def list_environments() -> tuple[WorkerEnvironment, ...]:
    """The installed environments, oldest scikit-learn first; unfinished builds are not among them.

    Raises:
        EnvironmentMissingError: DP526 where an installed environment is damaged or of another release's lock,
            DP529 where the folder cannot be read.
    """
    folder = environments_folder()
    try:
        names = sorted(entry.parent.name for entry in folder.glob(f"[!.]*/{_RECORD}"))
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(0, "not a folder")
    except OSError as error:
        raise _unusable(folder, error) from error
    found = [(parse_spec(name), name) for name in names]
    return tuple(_read(folder / name, spec) for spec, name in sorted(found, key=_by_version))


def _by_version(pair: tuple[EnvironmentSpec, str]) -> tuple[int, ...]:
    return tuple(int(part) for part in pair[0].sklearn.split(".") if part.isdigit())


def add_environment(version: str, *, offline_folder: Path | None = None) -> WorkerEnvironment:
    """Install the environment that `version` names; one that is there already is returned as it is.

    Args:
        version: a spec of the table, such as ``1.2.2`` or ``1.2.2+xgboost-2.0.3``.
        offline_folder: a folder of wheels to install from instead of the package index.

    Raises:
        EnvironmentMissingError: DP523 no such spec, DP524 no suitable Python here, DP525 a wheel is missing, has
            another hash or does not import, DP526 the one that is there is damaged, DP527 uv is missing, DP529 the
            folder cannot be written.
    """
    spec = parse_spec(version)
    folder = environments_folder()
    target = folder / spec.name
    if (target / _RECORD).is_file():
        return _read(target, spec)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=_BUILDING, dir=folder))
    except OSError as error:
        raise _unusable(folder, error) from error
    try:
        _build(spec, building, offline_folder)
        if target.exists() and not (target / _RECORD).exists():
            shutil.rmtree(target)  # left by a build that was cut short; it never had a record
        building.rename(target)
    except OSError as error:
        if (target / _RECORD).is_file():  # another process was first
            return _read(target, spec)
        raise _unusable(target, error) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return _read(target, spec)


def remove_environment(version: str) -> Path:
    """Remove an installed environment and return the folder that it was in.

    Raises:
        EnvironmentMissingError: DP523 no such spec, DP528 not installed, DP529 it cannot be removed.
    """
    spec = parse_spec(version)
    folder = environments_folder()
    target = folder / spec.name
    if not target.is_dir() or target.is_symlink():
        raise EnvironmentMissingError(
            "This environment is not installed",
            code="DP528",
            where=str(target),
            next_step="depickle env list",
        )
    try:
        aside = Path(tempfile.mkdtemp(prefix=_BUILDING, dir=folder))
        target.rename(aside / "removed")
        shutil.rmtree(aside)
    except OSError as error:
        raise _unusable(target, error) from error
    return target


def _build(spec: EnvironmentSpec, building: Path, offline_folder: Path | None) -> None:
    """Make the virtual environment in `building`, install the lock, prove the versions, write the record."""
    uv = _uv()
    lock = lock_text(spec)
    requirements = building / "requirements.txt"
    requirements.write_text(lock, encoding="utf-8")
    made = _run([uv, "venv", "--quiet", "--no-project", "--relocatable", "--no-python-downloads", "--allow-existing",
                 "--python", _interpreter(), str(building)], building)  # fmt: skip
    if made.returncode:
        raise EnvironmentMissingError(
            f"No Python {python_version()} on this machine",
            code="DP524",
            found=made.stderr[-_TAIL:].strip(),
            expected=f"Python {python_version()}, which every locked environment has wheels for",
            next_step=f"uv python install {python_version()}",
        )
    python = _python(building)
    source = ["--no-index", "--find-links", str(offline_folder.absolute())] if offline_folder else []
    installed = _run([uv, "pip", "install", "--quiet", "--python", str(python), "--require-hashes", "--no-deps",
                      "--only-binary", ":all:", *source, "--requirement", str(requirements)], building)  # fmt: skip
    if installed.returncode:
        raise _failed(spec, installed.stderr)
    probe = _run([str(python), "-I", "-c", _PROBE], building)
    if probe.returncode:
        raise _failed(spec, probe.stderr)
    try:
        facts = json.loads(probe.stdout)
        found, its_python = dict(facts["versions"]), str(facts["python"])
    except (ValueError, KeyError, TypeError) as error:
        raise _failed(spec, probe.stdout) from error
    wrong = {name: found.get(name) for name, wanted in spec.versions.items() if found.get(name) != wanted}
    if wrong:
        raise _failed(spec, f"installed versions differ from the lock: {wrong}")
    record = _Record(1, spec.name, hashlib.sha256(lock.encode()).hexdigest(), its_python, spec.versions)
    with (building / _RECORD).open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(record), indent=1))
        file.flush()
        os.fsync(file.fileno())


def _read(folder: Path, spec: EnvironmentSpec) -> WorkerEnvironment:
    python = _python(folder)
    try:
        record = msgspec.json.decode((folder / _RECORD).read_bytes(), type=_Record)
    except (OSError, msgspec.DecodeError) as error:
        raise _damaged(folder, spec, str(error)) from error
    if (
        record.lock_sha256 != hashlib.sha256(lock_text(spec).encode()).hexdigest()
        or record.versions != spec.versions
    ):
        raise _damaged(folder, spec, "it was built from another lock than this release ships")
    if not os.access(python, os.X_OK):
        raise _damaged(folder, spec, "its interpreter is gone")
    return WorkerEnvironment(spec.name, python, record.versions, record.python)


def _python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _interpreter() -> str:
    """The Python to build on: the running one where it is the right version, else uv looks for one."""
    if f"{sys.version_info.major}.{sys.version_info.minor}" == python_version():
        return getattr(sys, "_base_executable", sys.executable)
    return python_version()


def _uv() -> str:
    try:
        from uv import find_uv_bin  # imported late: only installing needs it

        return find_uv_bin()
    except (ImportError, FileNotFoundError) as error:
        raise EnvironmentMissingError(
            "uv, which installs worker environments, is missing",
            code="DP527",
            found=str(error),
            next_step="install depickle with its dependencies again",
        ) from error


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command built from constants, table keys and our own paths; never through a shell."""
    environ = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))
    }
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=INSTALL_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


def _failed(spec: EnvironmentSpec, said: str) -> EnvironmentMissingError:
    return EnvironmentMissingError(
        "The environment could not be installed; nothing was kept",
        code="DP525",
        where=spec.name,
        found=said[-_TAIL:].strip(),
        expected="every wheel of the lock, with its hash, importable here",
        next_step=f"check the package index or the wheel folder, then: depickle env add {spec.name}",
    )


def _damaged(folder: Path, spec: EnvironmentSpec, found: str) -> EnvironmentMissingError:
    return EnvironmentMissingError(
        "An installed environment cannot be trusted",
        code="DP526",
        where=str(folder),
        found=found,
        next_step=f"depickle env remove {spec.name} && depickle env add {spec.name}",
    )


def _unusable(folder: Path, error: OSError) -> EnvironmentMissingError:
    return EnvironmentMissingError(
        "The folder of environments cannot be used",
        code="DP529",
        where=str(folder),
        found=error.strerror or str(error),
        next_step="set DEPICKLE_ENVIRONMENTS to a folder of your own",
    )
