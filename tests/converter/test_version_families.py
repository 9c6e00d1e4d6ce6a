# SPDX-License-Identifier: Apache-2.0
"""Every family, written by every release: nothing that is vouched for is wrong, and refusals are the known ones.

Slow: each release fits and writes some 400 models with its own interpreter, and answers in its own worker. Skips a
release whose environment is not installed, saying how to add it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .migration_kit import MigratingHost
from .version_families import RELEASES, Verdict, listed, verdicts, write, writer_of

pytestmark = pytest.mark.slow

Release = tuple[int, int]
FIRST, NEVER = (1, 0), (9, 9)

REFUSED: tuple[tuple[str, str, Release, Release], ...] = (
    ("isotonic over XGBoost", "DP603", FIRST, NEVER),
    ("PCA, neighbours", "DP603", FIRST, NEVER),
    ("logarithms, histogram boosting of numbers", "DP603", FIRST, NEVER),
    ("quantiles, forest", "DP609", FIRST, NEVER),
    ("output codes", "DP600", FIRST, NEVER),
    ("Gaussian process", "DP600", FIRST, NEVER),
    ("bare LightGBM booster, 3", "DP607", FIRST, NEVER),
    ("bare XGBoost booster, 3", "DP607", FIRST, NEVER),
    ("histogram boosting, categories", "DP603", FIRST, (1, 4)),
    ("bins, tree", "DP603", FIRST, (1, 3)),
    ("bins by quantiles, logistic", "DP603", FIRST, (1, 3)),
    ("neighbours, manhattan, 3", "DP603", (1, 3), (1, 9)),
    ("dummy, prior, 2", "DP603", FIRST, (1, 5)),
    ("dummy, most frequent, 2", "DP603", FIRST, (1, 5)),
    ("dummy, mean", "DP603", FIRST, (1, 5)),
    ("dummy, quantile", "DP603", FIRST, (1, 5)),
)
"""Name, code, the first release that is refused and the first that is no longer."""

PROVEN_SINCE = {
    "tree": FIRST,
    "tree with gaps": FIRST,
    "extra tree": FIRST,
    "forest": FIRST,
    "forest with gaps": FIRST,
    "extra trees": FIRST,
    "extra trees with gaps": FIRST,
    "gradient boosting from zero": (1, 4),
    "histogram boosting": (1, 5),
    "histogram boosting, categories": (1, 5),
    "AdaBoost": FIRST,
    "bag of trees": FIRST,
    "one vs rest, forests": FIRST,
    "one vs one, trees": FIRST,
    "search": FIRST,
    "threshold, tuned": FIRST,
    "dummy, prior": FIRST,
    "dummy, most frequent": FIRST,
    "norms max, forest": FIRST,
    "selected by a linear model, tree": FIRST,
    "selected by mode, forest": FIRST,
    "selected by discovery rate, forest": FIRST,
    "eliminated, forest": FIRST,
    "bins, tree": FIRST,
    "binarizer, forest": FIRST,
    "ordinals, unknown, forest": FIRST,
    "imputer with indicators, forest": FIRST,
    "clipped scaler, forest": FIRST,
    "root of the target, forest": FIRST,
    "dummy, mean": FIRST,
    "dummy, quantile": FIRST,
    "tree of numbers": FIRST,
    "forest of numbers": FIRST,
    "boosting of numbers": FIRST,
    "boosting of numbers, huber": FIRST,
    "boosting of numbers from a forest": FIRST,
    "histogram boosting of numbers": FIRST,
    "LightGBM of numbers": FIRST,
    "LightGBM, quantile": FIRST,
    "XGBoost of numbers": FIRST,
    "XGBoost, gblinear of numbers": FIRST,
    "bare LightGBM booster of numbers": FIRST,
    "bare XGBoost booster of numbers": FIRST,
}
"""Every other family is certified."""

LEAST_CERTIFIED = {
    "neighbours, chebyshev": 0.7,  # a tenth of the columns are codes, whose distances are equal
    "logarithms, forest": 0.85,  # sines of two hours are one unit apart, and thresholds between them
    "logarithms, LightGBM": 0.6,
    "one-hot, strict, tree": 0.6,  # near a training row there is no category
}
"""Of ordinary rows; of the other families 98 of 100."""

MAX_STEPS = {
    "forest": 1,
    "tree": 1,
    "LightGBM": 8,
    "XGBoost": 16,
    "histogram boosting": 8,
    "LogisticRegression": 16,
}
"""Distance of probabilities in units in the last place of 1, of families whose scores are sums of few numbers."""

MIGRATED = (
    "forest, 3", "AdaBoost over logistic, 2", "SVC rbf, 3", "neighbours, 2", "GaussianNB, 3", "QDA, 2",
    "LightGBM, 3", "XGBoost, 2", "histogram boosting, 3", "one vs one, logistic, 3", "sigmoid over LightGBM, 3",
    "PCA, forest, 3", "one-hot, strict, tree, 2", "selected by a forest, LightGBM, 3", "bare LightGBM booster, 2",
    "Poisson", "AdaBoostRegressor, scaled", "SVR, scaled", "IsolationForest", "OneClassSVM, scaled",
)  # fmt: skip


def _is(name: str, family: str) -> bool:
    return (
        name == family or name.removesuffix(", scaled") == family or name in (f"{family}, 2", f"{family}, 3")
    )


def _refusal(name: str, release: Release) -> str | None:
    """The code with which a model of this name is refused, or None."""
    for family, code, since, until in REFUSED:
        bare = family.startswith("dummy")  # behind a scaler it is known how many columns there are
        if (name == family if bare else _is(name, family)) and since <= release < until:
            return code
    return None


def _tier(name: str, release: Release) -> str:
    since = next((since for family, since in PROVEN_SINCE.items() if _is(name, family)), NEVER)
    return "proven" if release >= since else "certified"


def _number(release: str) -> Release:
    major, minor, _ = release.split(".")
    return int(major), int(minor)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Where the models of each release are that were written so far."""
    return {}


def _written(release: str, folders: dict[str, Path], factory: pytest.TempPathFactory) -> Path:
    environment = writer_of(release)
    if environment is None:
        pytest.skip(f"no environment {release}; add it with: depickle env add {release}")
    if release not in folders:
        folders[release] = factory.mktemp("families")
        write(environment, folders[release])
    return folders[release]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("release", RELEASES)
def test_nothing_that_is_vouched_for_is_wrong(
    release: str, folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = _written(release, folders, tmp_path_factory)
    assert listed(folder)[1] == {}  # every model could be fitted
    environment = writer_of(release)
    assert environment is not None
    found = verdicts(release, environment, folder)
    number = _number(release)

    assert {one.name: one.wrong for one in found if one.wrong} == {}
    expected = {one.name: _refusal(one.name, number) or _tier(one.name, number) for one in found}
    assert {one.name: one.tier for one in found} == expected
    converted = [one for one in found if not one.tier.startswith("DP")]
    assert [(one.name, one.certified) for one in converted if one.certified < _least(one)] == []
    assert [(one.name, one.bound_share) for one in converted if (one.bound_share or 0.0) > 1.0] == []
    assert [(one.name, one.steps) for one in converted if (one.steps or 0.0) > _most_steps(one)] == []
    assert len(converted) > 350


def _least(one: Verdict) -> float:
    return next((least for family, least in LEAST_CERTIFIED.items() if _is(one.name, family)), 0.98)


def _most_steps(one: Verdict) -> float:
    return next((most for family, most in MAX_STEPS.items() if _is(one.name, family)), float("inf"))


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("release", RELEASES)
def test_a_sample_of_every_release_is_migrated(
    release: str, folders: dict[str, Path], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = _written(release, folders, tmp_path_factory)
    files = {row["name"]: folder / row["file"] for row in listed(folder)[0]}
    host = MigratingHost(tmp_path, tiers=("proven", "certified", "sampled"))
    for place, name in enumerate(MIGRATED):
        host.put(f"EURUSD_{place:02d}.pkl", files[name].read_bytes())

    result, rows, summary = host.migrate("--accept", "sampled")

    assert result.exit_code == 0, [row for row in rows if row.get("code")] or summary
    assert len(rows) == len(MIGRATED)
    assert host.legacy() == []
    assert host.run("verify", "--models-dir", str(host.models)).exit_code == 0
