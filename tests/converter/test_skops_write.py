# SPDX-License-Identifier: Apache-2.0
"""The skops file written from the inert graph is the one that skops itself would write, but for ids and order."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import warnings
import zipfile
from typing import Any

import numpy as np
import pytest
import skops.io
from lightgbm import LGBMClassifier
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.experimental import enable_halving_search_cv, enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, RandomizedSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, RobustScaler, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from xgboost import XGBClassifier

from depickle.pickles import open_package, vet
from depickle.skops_files import write_skops

ROWS = np.random.default_rng(7).standard_normal((80, 4))
CODES = np.c_[ROWS[:, :2], np.arange(80) % 5, ROWS[:, 3]]
HOLES = np.where(np.arange(320).reshape(80, 4) % 7 == 0, np.nan, ROWS)
LABELS = np.where(ROWS[:, 0] + ROWS[:, 1] ** 2 > 0.7, 1, 0)
WORDS = np.array(["SELL", "WAIT", "BUY"])[np.digitize(ROWS[:, 0], [-0.5, 0.5])]

ESTIMATORS: dict[str, BaseEstimator] = {
    "forest": make_pipeline(RobustScaler(), RandomForestClassifier(5, max_depth=3, random_state=0)),
    "gradient boosting": GradientBoostingClassifier(n_estimators=4, random_state=0),
    "histogram boosting": make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=4)),
    "histogram boosting, quantile": HistGradientBoostingRegressor(loss="quantile", quantile=0.4, max_iter=3),
    "lightgbm": make_pipeline(SimpleImputer(), LGBMClassifier(n_estimators=3, num_leaves=4, verbose=-1)),
    "xgboost": XGBClassifier(n_estimators=3, max_depth=2),
    "logistic regression": make_pipeline(StandardScaler(), LogisticRegression()),
    "stochastic gradient": SGDClassifier(loss="hinge", random_state=0),
    "naive bayes": GaussianNB(),
    "support vectors": SVC(),
    "neighbours in a KD tree": KNeighborsClassifier(algorithm="kd_tree"),
    "neighbours in a ball tree": KNeighborsClassifier(algorithm="ball_tree", p=1),
    "neighbours in no tree": KNeighborsClassifier(algorithm="brute"),
    "tree with weights by class": DecisionTreeClassifier(class_weight={0: 1.0, 1: 2.0}, random_state=0),
    "voting": VotingClassifier([("a", GaussianNB()), ("b", DecisionTreeClassifier(random_state=0))]),
    "stacking": StackingClassifier([("a", DecisionTreeClassifier(random_state=0))], cv=2),
    "calibrated": CalibratedClassifierCV(DecisionTreeClassifier(max_depth=2, random_state=0), cv=2),
    "projection": make_pipeline(PCA(2), LogisticRegression()),
    "encoder": make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()),
    "ufunc": make_pipeline(FunctionTransformer(np.tanh), LogisticRegression()),
    "categories": HistGradientBoostingClassifier(max_iter=4, categorical_features=[2]),
    "search": GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0], "class_weight": [None, "balanced"]}, cv=2),
    "random search": RandomizedSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression()),
        {"logisticregression__C": [0.1, 1.0], "standardscaler": [StandardScaler(), "passthrough"]},
        n_iter=3,
        cv=2,
        random_state=0,
    ),
    "search of several grids": GridSearchCV(
        DecisionTreeClassifier(random_state=0), [{"max_depth": [1, 2]}, {"min_samples_leaf": [3, 0.2]}], cv=2
    ),
    "halving search": HalvingGridSearchCV(
        DecisionTreeClassifier(random_state=0), {"max_depth": [1, 2, None]}, cv=2, random_state=0
    ),
    "iterative imputer": make_pipeline(IterativeImputer(max_iter=2), LogisticRegression()),
    "random state object": DecisionTreeClassifier(random_state=np.random.RandomState(3)),
}


def fitted(name: str, labels: np.ndarray = LABELS) -> Any:
    estimator = ESTIMATORS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit({"categories": CODES, "iterative imputer": HOLES}.get(name, ROWS), labels)


def written(estimator: Any) -> bytes:
    vetted = vet(pickle.dumps(estimator))
    return write_skops(open_package(vetted).estimator, writer=vetted.writer)


def normal_form(data: bytes) -> Any:
    """The node tree with members inlined and ids dropped, so that two files can be compared."""
    archive = zipfile.ZipFile(io.BytesIO(data))

    def normal(node: Any) -> Any:
        if isinstance(node, list):
            return [normal(item) for item in node]
        if not isinstance(node, dict):
            return node
        kept = {key: normal(value) for key, value in node.items() if key not in ("__id__", "_skops_version")}
        if isinstance(kept.get("file"), str):
            member = archive.read(kept.pop("file"))
            if member[:6] == b"\x93NUMPY":
                array = np.load(io.BytesIO(member), allow_pickle=False)
                # field by field: the padding of a structured array is whatever memory held
                kept["array"] = (str(array.dtype), array.shape, repr(array.tolist()))
            elif member[:2] == b"PK":
                with np.load(io.BytesIO(member), allow_pickle=False) as parts:
                    kept["parts"] = {part: parts[part].tolist() for part in sorted(parts.files)}
            else:
                kept["bytes"] = member
        return kept

    return normal(json.loads(archive.read("schema.json")))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_says_what_skops_itself_would_write(name: str) -> None:
    estimator = fitted(name)
    assert normal_form(written(estimator)) == normal_form(
        skops.io.dumps(pickle.loads(pickle.dumps(estimator)))
    )


def test_a_pickle_of_protocol_0_gives_the_same_tree() -> None:
    for name in ("iterative imputer", "categories"):
        estimator = fitted(name)
        vetted = vet(pickle.dumps(estimator, 0))
        text = write_skops(open_package(vetted).estimator, writer=vetted.writer)
        assert normal_form(text) == normal_form(written(estimator))


@pytest.mark.parametrize(
    "name",
    [
        "forest",
        "histogram boosting",
        "lightgbm",
        "xgboost",
        "encoder",
        "categories",
        "search",
        "neighbours in a KD tree",
        "neighbours in a ball tree",
    ],
)
def test_loads_in_skops_and_answers_as_the_original(name: str) -> None:
    estimator = fitted(name, WORDS if name != "xgboost" else LABELS)
    data = written(estimator)
    loaded = skops.io.loads(data, trusted=skops.io.get_untrusted_types(data=data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert (loaded.predict(ROWS) == estimator.predict(ROWS)).all()


def test_same_pickle_gives_the_same_bytes_in_processes_with_other_hash_seeds(tmp_path: Any) -> None:
    source = tmp_path / "model.pkl"
    source.write_bytes(pickle.dumps(fitted("forest")))
    program = (
        "import sys, hashlib, pathlib\n"
        "from depickle.pickles import vet, open_package\n"
        "from depickle.skops_files import write_skops\n"
        "vetted = vet(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "print(hashlib.sha256(write_skops(open_package(vetted).estimator, writer=vetted.writer)).hexdigest())\n"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program, str(source)],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


class _OfNumpy1:
    """Pickles a Generator as numpy 1 did: its bit generator by name, and the state on the Generator itself."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._state = generator.bit_generator.state

    def __reduce__(self) -> tuple[Any, ...]:
        constructors = [
            getattr(np.random._pickle, f"__{name}_ctor") for name in ("generator", "bit_generator")
        ]
        return constructors[0], (self._state["bit_generator"], constructors[1]), self._state


def test_a_generator_of_numpy_1_is_read_as_well() -> None:
    estimator = HistGradientBoostingClassifier(max_iter=2, max_features=0.5, random_state=3).fit(ROWS, LABELS)
    generator = estimator._feature_subsample_rng
    estimator._feature_subsample_rng = _OfNumpy1(generator)
    data = written(estimator)
    loaded = skops.io.loads(data, trusted=skops.io.get_untrusted_types(data=data))
    assert loaded._feature_subsample_rng.bit_generator.state == generator.bit_generator.state


def test_shared_objects_stay_shared() -> None:
    pipeline = fitted("forest")
    assert isinstance(pipeline, Pipeline)
    shared = make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, LABELS)
    both = Pipeline([("a", shared[0]), ("b", shared[1])])
    ids = [
        node["__id__"]
        for node in json.loads(zipfile.ZipFile(io.BytesIO(written(both))).read("schema.json"))["content"][
            "content"
        ]["steps"]["content"]
    ]
    assert len(ids) == len(set(ids))
