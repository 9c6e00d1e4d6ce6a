# SPDX-License-Identifier: Apache-2.0
"""The shipped policies are canonical, every callable in them was reviewed, and the generator reads roles right."""

from __future__ import annotations

import collections
import importlib
import pickle
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.tree import DecisionTreeClassifier

from depickle.pickles.policy import default_policy, encode_policy_file, parse_policy_file, shipped_families

ROOT = Path(__file__).resolve().parent.parent.parent
POLICIES = ROOT / "converter" / "depickle" / "pickles" / "policies"
FAMILIES = sorted(path.stem for path in POLICIES.glob("sklearn-*.json"))


@pytest.fixture(scope="module", autouse=True)
def scripts() -> None:
    """Make the generator's modules importable."""
    sys.path.insert(0, str(ROOT / "scripts"))


def script(name: str) -> ModuleType:
    """One of the generator's modules."""
    return importlib.import_module(name)


def walked(value: object, protocol: int) -> dict[tuple[str, str], set[str]]:
    """The globals of `value` with their roles, as the generator's walk reads them."""
    found: dict[tuple[str, str], set[str]] = script("policy_walk").uses(
        pickle.dumps(value, protocol=protocol)
    )
    return found


def test_there_is_a_policy_for_each_family_that_estates_are_written_in() -> None:
    assert {"sklearn-1.2", "sklearn-1.3", "sklearn-1.5", "sklearn-1.7", "sklearn-1.9"} <= set(FAMILIES)
    assert {"base", *FAMILIES} == {file.family for file in shipped_families()}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_shipped_policy_is_canonical_and_states_what_it_was_made_with(family: str) -> None:
    data = (POLICIES / f"{family}.json").read_bytes()
    policy = parse_policy_file(data)
    assert encode_policy_file(policy) == data
    assert policy.family == family
    assert policy.versions["scikit-learn"].startswith(family.removeprefix("sklearn-") + ".")
    assert {"numpy", "lightgbm", "xgboost", "joblib", "pandas", "scipy"} <= set(policy.versions)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_callable_of_a_shipped_policy_was_reviewed(family: str) -> None:
    review = script("policy_review")
    for entry in parse_policy_file((POLICIES / f"{family}.json").read_bytes()).globals:
        full = ".".join(review.modern((entry.module, entry.name)))
        assert not review.refused(full), full
        assert "called" not in entry.roles or review.reason_to_call(full), full
        assert entry.rule == review.rule((entry.module, entry.name)), full


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "getattr"),
        ("operator", "attrgetter"),
        ("scipy.stats._distn_infrastructure", "rv_continuous_frozen"),
        ("scipy.stats._continuous_distns", "uniform_gen"),
        ("pyarrow.lib", "py_buffer"),
        ("sklearn.utils._testing", "check_output"),
    ],
)
def test_what_a_review_refused_is_in_no_shipped_policy(module: str, name: str) -> None:
    for role in ("created", "called", "data"):
        assert not default_policy().admits(module, name, role)


def test_a_partial_is_admitted_as_a_call_under_its_own_rule_only() -> None:
    roles = {
        role
        for role in ("created", "called", "data")
        if default_policy().admits("functools", "partial", role)
    }
    assert roles == {"called"}
    assert default_policy().table["functools", "partial"].rule == "check_array_partial"


@pytest.mark.parametrize("protocol", range(6))
def test_a_class_is_created_in_every_protocol(protocol: int) -> None:
    roles = walked(Ridge(), protocol)[("sklearn.linear_model._ridge", "Ridge")]
    assert roles == {"created"}


@pytest.mark.parametrize("protocol", range(6))
def test_what_reduce_calls_is_called_and_its_arguments_are_data(protocol: int) -> None:
    found = walked(np.random.RandomState(1), protocol)
    assert found[("numpy.random._pickle", "__randomstate_ctor")] == {"called"}
    assert found[("numpy.random._mt19937", "MT19937")] == {"data"}


def test_a_callable_that_is_only_kept_is_data() -> None:
    found = walked({"factory": collections.defaultdict(list), "function": np.median}, 4)
    assert found[("collections", "defaultdict")] == {"called"}
    assert found[("builtins", "list")] == {"data"}
    assert found[("numpy", "median")] == {"data"}


def test_a_class_that_is_fetched_from_the_memo_and_created_is_created() -> None:
    found = walked([DecisionTreeClassifier(), DecisionTreeClassifier()], 4)
    assert found[("sklearn.tree._classes", "DecisionTreeClassifier")] == {"created"}


def test_joblib_streams_are_read_without_their_array_bytes() -> None:
    walk = script("policy_walk")
    array = np.array(["a", None, 2.5], dtype=object)
    found: dict[tuple[str, str], set[str]] = {}
    for stream in walk.joblib_streams({"x": np.arange(3.0), "o": array}):
        for path, roles in walk.uses(stream).items():
            found.setdefault(path, set()).update(roles)
    assert found[("joblib.numpy_pickle", "NumpyArrayWrapper")] == {"created"}
    assert any(path[1] == "_reconstruct" for path in found)


def test_a_stream_that_calls_the_result_of_a_call_is_not_learnt_from() -> None:
    hostile = b"\x80\x04cbuiltins\ngetattr\ncos\nsystem\nX\x00\x00\x00\x00\x86R)R."
    with pytest.raises(ValueError, match="not a global"):
        script("policy_walk").uses(hostile)


def test_a_hook_that_nobody_reviewed_is_found_where_it_is_defined() -> None:
    review = script("policy_review")
    assert review.reason_for_hook("sklearn.base.BaseEstimator.__setstate__")
    assert review.reason_for_hook("scipy.stats._distn_infrastructure.rv_generic.__setstate__") is None
