# SPDX-License-Identifier: Apache-2.0
"""The walk proves what was converted rightly, and names the tree, the node and the field of what was not."""

from __future__ import annotations

import pickle
import time
from dataclasses import replace
from typing import Any

import lightgbm
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.neighbors import RadiusNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from depickle.errors import ParityError
from depickle.parity.compare import ulp_distance
from depickle.parity.lift import lift
from depickle.parity.proof import prove
from depickle.pickles import open_package, vet
from depickle_runtime.record import OutputNames

from .emit_checks import LABELS, make_data
from .proof_kit import Subject, fitted, subject, subject_of
from .test_emit_compositions import COMPOSITIONS, THRESHOLDS
from .test_emit_families import INTEGERS_ONLY, NO_MISSING, SCALERS, TREES
from .test_emit_transforms import TRANSFORMERS

_KINDS = [
    (family, labels, list(SCALERS)[(place + turn) % len(SCALERS)])
    for place, family in enumerate(TREES)
    for turn, labels in enumerate(LABELS)
]


def _made(live: Any, labels: tuple[Any, ...], *, missing: bool = False) -> Subject:
    return fitted("made", live, labels, missing=missing, lightgbm=lightgbm.__version__)


@pytest.mark.parametrize(("family", "labels", "scaler"), _KINDS)
def test_every_tree_family_is_proven(family: str, labels: str, scaler: str) -> None:
    names = tuple(range(len(LABELS[labels]))) if family in INTEGERS_ONLY else LABELS[labels]
    missing = scaler != "robust" and not (scaler == "none" and family in NO_MISSING)
    one = _made(make_pipeline(*SCALERS[scaler](), TREES[family]()), names, missing=missing)
    found = one.prove()
    assert found is not None
    predictor = one.typed.root if scaler == "none" else one.typed.root.predictor  # type: ignore[union-attr]
    splits = sum(tree.splits for tree in getattr(predictor, "predictor", predictor).trees)
    assert found.splits >= splits > 0
    assert found.leaves >= found.splits


@pytest.mark.parametrize("labels", ["two words", "signs"])
@pytest.mark.parametrize("case", [*COMPOSITIONS, *THRESHOLDS])
def test_every_composition_is_proven(case: str, labels: str) -> None:
    if case in THRESHOLDS:
        live = THRESHOLDS[case][1]()
        live.set_params(**({"pos_label": 1} if case.startswith("fixed") else {}))
        one = _made(live, (0, 1))
    else:
        many = case.startswith("one-vs-rest") and labels == "two words"
        one = _made(COMPOSITIONS[case][1](), LABELS["words" if many else labels])
    assert one.prove() is not None


@pytest.mark.parametrize("case", TRANSFORMERS)
def test_every_transformer_is_proven(case: str) -> None:
    last = GradientBoostingClassifier(n_estimators=3, random_state=0)
    assert _made(make_pipeline(TRANSFORMERS[case](), last), (0, 1)).prove() is not None


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize(
    "family",
    [
        LogisticRegression(max_iter=300),
        LogisticRegression(max_iter=300, solver="newton-cholesky"),
        SGDClassifier(loss="log_loss", random_state=0),
        SGDClassifier(random_state=0),
        RidgeClassifier(),
        LinearSVC(random_state=0),
    ],
    ids=lambda family: f"{type(family).__name__} {getattr(family, 'loss', '')}",
)
def test_linear_classifiers_and_their_certificates_are_walked(family: Any, labels: str) -> None:
    found = _made(make_pipeline(StandardScaler(), family), LABELS[labels]).prove()
    assert found is not None
    assert found.constants > 20


def test_a_linear_regressor_is_walked() -> None:
    assert _made(LinearRegression(), ()).prove() is not None


def test_a_class_without_a_derivation_is_not_called_proven() -> None:
    X, y = make_data((0, 1))
    vetted = vet(pickle.dumps(RadiusNeighborsClassifier().fit(X, y)))
    record = open_package(vetted).estimator
    one = subject("forest")
    names = one.emitted.outputs
    assert prove(record, one.emitted.onnx, outputs=names, writer=vetted.writer, where="x") is None


def _changed(one: Subject, attribute: str, place: int, value: float) -> bytes:
    """The subject's file with one number of its ensemble changed."""
    model = onnx.load_from_string(one.emitted.onnx)
    node = next(node for node in model.graph.node if node.op_type == "TreeEnsemble")
    found = next(entry for entry in node.attribute if entry.name == attribute)
    if found.ints:
        found.ints[place] = int(value)
    else:
        values = np.array(numpy_helper.to_array(found.t))
        values[place] = value
        found.t.raw_data = values.tobytes()
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _refusal(one: Subject, data: bytes) -> ParityError:
    with pytest.raises(ParityError) as refusal:
        one.prove(data)
    return refusal.value


@pytest.mark.parametrize(
    ("attribute", "value", "field"),
    [
        ("nodes_splits", 1.5, "threshold"),
        ("nodes_featureids", 5, "feature"),
        ("nodes_modes", 4, "mode"),
        ("nodes_missing_value_tracks_true", 1, "missing"),
        ("leaf_weights", 77.0, "weight"),
        ("leaf_targetids", 1, "target"),
        ("nodes_truenodeids", 0, "reached twice"),
        ("nodes_falsenodeids", 9999, "0 to"),
    ],
)
def test_a_lie_is_named_with_its_tree_node_and_field(attribute: str, value: float, field: str) -> None:
    error = _refusal(
        subject("gradient boosting"), _changed(subject("gradient boosting"), attribute, 1, value)
    )
    assert error.code == "DP711"
    assert field in str(error)


def test_the_place_of_a_lie_can_be_followed_in_the_source() -> None:
    one = subject("gradient boosting")
    ensemble = next(
        value.inputs[0].ensemble or value.ensemble
        for value in lift(one.emitted.onnx).outputs.values()
        if value.ensemble or (value.inputs and value.inputs[0].ensemble)
    )
    assert ensemble is not None
    root = int(ensemble.roots[3])
    error = _refusal(one, _changed(one, "nodes_splits", root, 123.0))
    tree = one.typed.root.predictor.trees[2]  # type: ignore[union-attr]
    assert "tree 3, node 0, threshold" in error.where  # the prior is tree 0
    assert (error.found, error.expected) == ("123.0", repr(float(tree.threshold[0])))


def test_a_model_of_another_source_is_refused() -> None:
    one, other = subject("gradient boosting"), subject("gradient boosting of signs")
    with pytest.raises(ParityError) as refusal:
        one.prove(emitted=other.emitted)
    assert refusal.value.code == "DP711"


def test_a_refit_on_one_row_less_is_refused() -> None:
    X, y = make_data((0, 1))
    make = RandomForestClassifier(4, max_depth=4, random_state=0)
    one = subject_of("all rows", make.fit(X, y), X)
    data = one.emitted.onnx
    other = subject_of("one row less", make.fit(X[:-1], y[:-1]), X)
    assert _refusal(other, data).code == "DP711"


def test_swapped_outputs_are_refused() -> None:
    one = subject("gradient boosting of signs")
    names = one.emitted.outputs
    swapped = OutputNames(
        label=names.label,
        class_index=names.class_index,
        probabilities=names.scores,
        scores=names.probabilities,
    )
    with pytest.raises(ParityError) as refusal:
        one.prove(emitted=replace(one.emitted, outputs=swapped))
    assert refusal.value.code == "DP711"


def test_a_file_that_hides_an_output_is_refused() -> None:
    one = subject("forest")
    names = replace_names(one.emitted.outputs)
    with pytest.raises(ParityError) as refusal:
        one.prove(emitted=replace(one.emitted, outputs=names))
    assert refusal.value.code == "DP711"


def replace_names(names: OutputNames) -> OutputNames:
    """`names` without the probabilities."""
    return OutputNames(label=names.label, class_index=names.class_index, probabilities=None, scores=None)


def _edited(one: Subject, edit: Any) -> bytes:
    model = onnx.load_from_string(one.emitted.onnx)
    edit(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _idle_node(model: onnx.ModelProto) -> None:
    model.graph.node.append(onnx.helper.make_node("Abs", ["X"], ["nothing"]))


def _second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(model.graph.input[0])


def _other_operators(model: onnx.ModelProto) -> None:
    model.opset_import.append(onnx.helper.make_opsetid("somewhere.else", 1))


def _function(model: onnx.ModelProto) -> None:
    model.functions.append(onnx.FunctionProto(name="Sub", domain=""))


def _outside_tensor(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="elsewhere")


def _short_tensor(model: onnx.ModelProto) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if len(tensor.raw_data) > 8)
    tensor.raw_data = tensor.raw_data[:-3]


def _short_modes(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.op_type == "TreeEnsemble")
    modes = next(entry for entry in node.attribute if entry.name == "nodes_modes")
    modes.t.raw_data = modes.t.raw_data[:-1]
    modes.t.dims[0] -= 1


def _twice_named(model: onnx.ModelProto) -> None:
    model.graph.node[0].output[0] = "X"


@pytest.mark.parametrize(
    "edit",
    [
        _idle_node,
        _second_input,
        _other_operators,
        _function,
        _outside_tensor,
        _short_tensor,
        _short_modes,
        _twice_named,
    ],
)
def test_a_file_with_parts_that_no_model_has_is_refused(edit: Any) -> None:
    assert _refusal(subject("forest"), _edited(subject("forest"), edit)).code == "DP712"


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_make_the_decoder_fail_otherwise(data: bytes) -> None:
    with pytest.raises(ParityError):
        subject("forest").prove(data)


@settings(deadline=None)
@given(st.data())
def test_no_flipped_byte_of_a_small_model_passes_unseen(data: st.DataObject) -> None:
    one = subject("logistic regression")
    original = one.emitted.onnx
    place = data.draw(st.integers(0, len(original) - 1))
    flip = data.draw(st.integers(1, 255))
    changed = original[:place] + bytes([original[place] ^ flip]) + original[place + 1 :]
    try:
        one.prove(changed)
    except ParityError as error:
        assert error.code in ("DP711", "DP712")
        return
    # Only names, the producer and declared shapes of outputs may change unseen: no number and no operator.
    assert _content(lift(changed).outputs) == _content(lift(original).outputs)


def _content(outputs: Any) -> list[str]:
    found: list[str] = []
    stack = list(outputs.values())
    while stack:
        value = stack.pop()
        constant = None if value.constant is None else value.constant.tolist()
        found.append(f"{value.operator} {dict(value.attributes)} {value.output} {constant}")
        stack += value.inputs
    return found


def test_the_walk_of_a_large_forest_stays_below_a_fifth_of_a_second() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2500, 12))
    y = (X[:, 0] * X[:, 1] + rng.normal(size=2500) > 0).astype(int)
    one = subject_of("300 trees", RandomForestClassifier(300, max_depth=10, random_state=0).fit(X, y), X)
    took = []
    for _ in range(3):
        start = time.process_time()
        found = one.prove()
        took.append(time.process_time() - start)
    assert found is not None
    assert (found.trees, found.splits > 20_000) == (300, True)
    assert min(took) < 0.2


# Distances ----------------------------------------------------------------------------------------------------------

_FINITE = st.floats(allow_nan=False, allow_infinity=False)


@settings(deadline=None)
@given(st.floats(-1e308, 1e308), st.integers(0, 2000))
def test_a_distance_counts_the_doubles_in_between(start: float, steps: int) -> None:
    value = start
    for _ in range(steps):
        value = float(np.nextafter(value, np.inf))
    assert int(ulp_distance(np.array([start]), np.array([value]))[0]) == steps
    assert int(ulp_distance(np.array([value]), np.array([start]))[0]) == steps


@settings(deadline=None)
@given(_FINITE, _FINITE, _FINITE)
def test_distances_add_up_along_the_line(a: float, b: float, c: float) -> None:
    low, middle, high = (np.array([value]) for value in sorted((a, b, c)))
    first, second, whole = (
        int(ulp_distance(x, y)[0]) for x, y in ((low, middle), (middle, high), (low, high))
    )
    assert first + second == whole
    assert (whole == 0) == (low[0] == high[0])


@settings(deadline=None)
@given(_FINITE)
def test_a_missing_answer_is_as_far_as_can_be_from_a_number(value: float) -> None:
    nan = np.array([np.nan])
    assert int(ulp_distance(nan, np.array([value]))[0]) == np.iinfo(np.uint64).max
    assert int(ulp_distance(nan, nan)[0]) == 0
