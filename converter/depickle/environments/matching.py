# SPDX-License-Identifier: Apache-2.0
"""From what a pickle says of its writer to an interpreter that holds exactly those versions, or a refusal.

* Every model library that the file names must be installed in exactly that version; no patch release stands in
  for another, since trees of scikit-learn 1.3 load under 1.9 and answer with nonsense.
* A file names only what it uses: a pure LightGBM booster says nothing of scikit-learn, and LightGBM's text says
  only its format (``v3`` or ``v4``), which any LightGBM of that major version reads as its own. Where a composition
  asks more of it, its settings tell one release, or two that nothing tells apart; then it is one of these.
* numpy is not named; only 1 or 2 can be told from module paths. An array that numpy 2 pickled is not given to
  numpy 1; numpy 2 reads what numpy 1 wrote.
* What the file says is looked up, never pasted: the command in a refusal is built from the table's own keys.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import EnvironmentMissingError
from .install import list_environments
from .table import BOOSTERS, EnvironmentSpec, known_specs, shown, spec_of
from .worker import MODEL_LIBRARIES, WorkerEnvironment, running_environment

__all__ = ["match"]

# What LightGBM's model text calls its format, and the major version that writes it.
_LIGHTGBM_FORMATS = {"v3": "3", "v4": "4"}
# What the reader of the graph says of a library that a file uses without telling its version.
UNTOLD = "unknown"
_NUMPY_MAJORS = {"1": 1, "2": 2}


def match(writer: Mapping[str, str]) -> WorkerEnvironment:
    """The environment that answers for a file.

    Args:
        writer: library to version as read from the inert graph. ``scikit-learn``, ``lightgbm`` and ``xgboost``
            count, and the major version of ``numpy``; anything else is ignored.

    Returns:
        the running interpreter where it holds those versions, else the first installed environment that does.

    Raises:
        EnvironmentMissingError: DP520 where an environment can be added, with the command; DP521 where no shipped
            lock holds a version that the file names; DP522 where the file does not tell a version that counts;
            DP526 and DP529 as `list_environments`.
    """
    named = {library: writer[library] for library in MODEL_LIBRARIES if library in writer}
    untold = [library for library, version in named.items() if version == UNTOLD] or MODEL_LIBRARIES
    if not named or UNTOLD in named.values():
        raise EnvironmentMissingError(
            "The file does not say which library version wrote it",
            code="DP522",
            found="no version of " + ", ".join(untold),
            next_step="load and save it again where it was written, then migrate that file",
        )
    numpy = writer.get("numpy", "")
    for environment in (running_environment(), *list_environments()):
        if _holds(environment.versions, named, numpy):
            return environment
    spec = _spec_for(named, numpy)
    if spec is None:
        raise _not_in_table(named)
    raise EnvironmentMissingError(
        "No environment with the versions that wrote this file",
        code="DP520",
        found=", ".join(f"{library} {shown(version)}" for library, version in named.items()),
        expected="the same versions, installed as a worker environment",
        next_step=f"depickle env add {spec.name}",
    )


def _holds(versions: Mapping[str, str], named: Mapping[str, str], numpy: str) -> bool:
    """True where every named library is there in exactly the named version."""
    for library, version in named.items():
        have = versions.get(library)
        if have is None:
            return False
        if library == "lightgbm" and version in _LIGHTGBM_FORMATS:
            if have.partition(".")[0] != _LIGHTGBM_FORMATS[version]:
                return False
        elif have not in _alternatives(library, version):
            return False
    return _reads_numpy(versions, numpy)


def _alternatives(library: str, version: str) -> tuple[str, ...]:
    """The releases of which any will do."""
    return tuple(version.split(" or ")) if library == "lightgbm" else (version,)


def _reads_numpy(versions: Mapping[str, str], numpy: str) -> bool:
    have = versions.get("numpy", "").partition(".")[0]
    if have not in _NUMPY_MAJORS:
        return False
    return _NUMPY_MAJORS[have] >= _NUMPY_MAJORS.get(numpy.partition(".")[0], 1)


def _spec_for(named: Mapping[str, str], numpy: str) -> EnvironmentSpec | None:
    """The environment to add: the named scikit-learn, or the newest whose time the named booster was."""
    boosters = {library: named[library] for library in BOOSTERS if library in named}
    if "scikit-learn" in named:
        candidates = [named["scikit-learn"]]
    else:
        specs = known_specs()[::-1]
        of_its_time = [spec.sklearn for spec in specs if _holds(spec.versions, boosters, numpy)]
        candidates = of_its_time + [spec.sklearn for spec in specs if _reads_numpy(spec.versions, numpy)]
    for sklearn in candidates:
        exact = {
            library: _alternatives(library, version)[-1]
            for library, version in boosters.items()
            if not (library == "lightgbm" and version in _LIGHTGBM_FORMATS)
        }
        spec = spec_of(sklearn=sklearn, lightgbm=exact.get("lightgbm"), xgboost=exact.get("xgboost"))
        usual = spec_of(sklearn=sklearn, xgboost=exact.get("xgboost"))
        if usual is not None and _holds(usual.versions, boosters, numpy):
            spec = usual
        if spec is not None and "lightgbm" in boosters and not _holds(spec.versions, boosters, numpy):
            spec = _with_format(spec, boosters["lightgbm"])
        if spec is not None and _holds(spec.versions, named, numpy):
            return spec
    return None


def _with_format(spec: EnvironmentSpec, wanted: str) -> EnvironmentSpec | None:
    """`spec` with a LightGBM that writes this format, the nearest in time that the table pairs with a release."""
    major = _LIGHTGBM_FORMATS.get(wanted)
    usual = [row.lightgbm for row in known_specs() if row.lightgbm.partition(".")[0] == major]
    if not usual:
        return None
    nearest = usual[0] if spec.lightgbm < usual[0] else usual[-1]
    return spec_of(sklearn=spec.sklearn, lightgbm=nearest, xgboost=spec.xgboost)


def _not_in_table(named: Mapping[str, str]) -> EnvironmentMissingError:
    return EnvironmentMissingError(
        "No shipped lock holds the versions that wrote this file",
        code="DP521",
        found=", ".join(f"{library} {shown(version)}" for library, version in named.items()),
        expected="a version of the table; another release is never used in its place",
        next_step="save the model again where it was written, with a version that depickle env list --known shows",
    )
