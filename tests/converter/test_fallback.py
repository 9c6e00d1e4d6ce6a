# SPDX-License-Identifier: Apache-2.0
"""Models without an exact conversion: converted in the confined worker, by name, believed as far as sampled."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from lightgbm import LGBMClassifier
from onnx import AttributeProto, TensorProto, helper
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import KernelPCA
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import TunedThresholdClassifierCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.naive_bayes import BernoulliNB, GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, PowerTransformer, StandardScaler, TargetEncoder
from sklearn.svm import NuSVC
from sklearn.tree import DecisionTreeClassifier
from xgboost import XGBClassifier

import depickle.migrate
from depickle.emit.canonical import rebuild
from depickle.emit.fallback import convert_in_worker, read_fallback
from depickle.environments import running_environment
from depickle.errors import ParityError, SandboxError, UnsupportedModelError
from depickle.migrate import Converter
from depickle.sandbox import protocol
from depickle.sandbox.converting import ConvertingWorker, open_converting_worker
from depickle_runtime.onnx_gate import check_onnx
from depickle_runtime.session import open_session

from .fallback_kit import (
    COLUMNS,
    EXACT_ONLY,
    SAMPLED,
    LyingWorker,
    constant_label,
    converted,
    model_bytes,
    models,
    opened,
    rows,
    signs,
    source,
)
from .worker_kit import Use, Vetted


@pytest.fixture(scope="module")
def converter() -> Iterator[Converter]:
    with Converter(SAMPLED) as opened_converter:
        yield opened_converter


@pytest.fixture(scope="module")
def worker() -> Iterator[ConvertingWorker]:
    with open_converting_worker(running_environment()) as opened_worker:
        yield opened_worker


# ---- what is converted -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", models())
def test_a_model_outside_the_exact_families_answers_as_before(
    converter: Converter, name: str, tmp_path: Path
) -> None:
    model = models()[name]
    made = converted(converter, model, tmp_path)
    record = made.record
    assert (record.derived, record.tier, record.parity.proof) == ("worker", "sampled", None)
    assert record.parity.label_flips == 0
    assert sum(rows.rows for rows in record.parity.rows) >= 14_000
    assert "skl2onnx" in record.versions
    session = open_session(check_onnx(made.onnx), contract=record.input, outputs=record.outputs)
    fresh = rows()[:50] * 1.01
    answers, original = session.run(fresh), model.predict(fresh)
    if record.classes is None:
        assert np.allclose(answers.scores[:, 0], original, rtol=1e-5, atol=1e-5)
    else:
        assert np.array_equal(np.array(record.classes)[answers.class_index], original)
    if record.outputs.probabilities is not None:
        assert np.allclose(answers.probabilities, model.predict_proba(fresh), rtol=0, atol=1e-5)


def test_nothing_is_converted_by_the_worker_unless_the_operator_admitted_it(tmp_path: Path) -> None:
    with Converter(EXACT_ONLY) as exact, pytest.raises(UnsupportedModelError) as refusal:
        converted(exact, models()["naive Bayes"], tmp_path)
    assert refusal.value.code == "DP609"
    assert "--accept sampled" in refusal.value.next_step


def test_the_contract_ends_where_the_samples_end(converter: Converter, tmp_path: Path) -> None:
    record = converted(converter, models()["naive Bayes"], tmp_path).record
    limit = float.fromhex(record.input.max_abs)
    assert np.abs(rows()).max() < limit < 1e6
    assert (record.input.allow_nan, record.input.allow_infinite) == (False, False)


_AGAIN = """
import hashlib, sys
from pathlib import Path
from depickle.migrate import Converter
from depickle.sources import read_source
from tests.converter.fallback_kit import SAMPLED
with Converter(SAMPLED) as converter:
    for path in sorted(Path(sys.argv[1]).glob("*/*.pkl")):
        made = converter.convert(read_source(path))
        print(hashlib.sha256(made.onnx).hexdigest(), hashlib.sha256(made.skops).hexdigest())
"""


def test_another_process_with_another_hash_seed_makes_the_same_bytes(
    converter: Converter, tmp_path: Path
) -> None:
    here = []
    for place, name in enumerate(
        ("quadratic discriminant, words as labels", "support vectors behind a kernel projection")
    ):
        folder = tmp_path / str(place)
        folder.mkdir()
        made = converted(converter, models()[name], folder)
        here.append(f"{hashlib.sha256(made.onnx).hexdigest()} {hashlib.sha256(made.skops).hexdigest()}")
    again = subprocess.run(
        [sys.executable, "-c", _AGAIN, str(tmp_path)],
        env={**os.environ, "PYTHONHASHSEED": "77"},
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert again.stdout.split("\n")[:-1] == here


# ---- what is refused by name -------------------------------------------------------------------------------------

_LR = LogisticRegression()
SILENTLY_WRONG: dict[str, Callable[[], Any]] = {
    "a calibrated booster": lambda: CalibratedClassifierCV(LGBMClassifier(n_estimators=2, verbose=-1), cv=2),
    "a calibrated pipeline": lambda: CalibratedClassifierCV(make_pipeline(StandardScaler(), _LR), cv=2),
    "a forest behind a power transform": lambda: make_pipeline(PowerTransformer(), RandomForestClassifier(4)),
    "a tuned threshold": lambda: TunedThresholdClassifierCV(_LR, cv=2),
    "scaled histogram boosting": lambda: make_pipeline(
        StandardScaler(), HistGradientBoostingClassifier(max_iter=2)
    ),
    "scaled LightGBM": lambda: make_pipeline(StandardScaler(), LGBMClassifier(n_estimators=2, verbose=-1)),
    "scaled XGBoost": lambda: make_pipeline(StandardScaler(), XGBClassifier(n_estimators=2)),
    "SGD with log loss": lambda: SGDClassifier(loss="log_loss"),
    "SGD with modified Huber loss": lambda: SGDClassifier(loss="modified_huber"),
    "one against one": lambda: OneVsOneClassifier(_LR),
    "one against the rest": lambda: OneVsRestClassifier(_LR),
    "a boosted tree": lambda: AdaBoostClassifier(DecisionTreeClassifier(max_depth=1), n_estimators=2),
    "a bag of trees": lambda: BaggingClassifier(DecisionTreeClassifier(), n_estimators=2),
    "bins": lambda: make_pipeline(KBinsDiscretizer(3, encode="ordinal"), GaussianNB()),
    "a threshold that is no float32": lambda: BernoulliNB(binarize=0.1),
    "an isolation forest": lambda: IsolationForest(n_estimators=2),
}


@pytest.mark.parametrize("name", SILENTLY_WRONG)
def test_what_the_converter_gets_wrong_in_silence_is_refused_by_name(name: str) -> None:
    _, package = opened(SILENTLY_WRONG[name]().fit(rows(), (signs() > 0).astype(int)))
    with pytest.raises(UnsupportedModelError) as refusal:
        read_fallback(package.estimator, is_running=True)
    assert refusal.value.code == "DP643"
    assert ": " in refusal.value.found


def test_neighbours_are_refused_for_the_loop_they_need(tmp_path: Path, converter: Converter) -> None:
    with pytest.raises(UnsupportedModelError) as refusal:
        converted(
            converter, make_pipeline(KernelPCA(2), KNeighborsClassifier()).fit(rows(), signs()), tmp_path
        )
    assert refusal.value.code == "DP649"


def test_what_the_converter_makes_of_neighbours_would_not_have_passed(worker: ConvertingWorker) -> None:
    vetted, package = opened(KNeighborsClassifier().fit(rows(), signs()))
    made = worker.convert(vetted, package.estimator_path, columns=COLUMNS, dtype="float64")
    with pytest.raises(UnsupportedModelError) as refusal:
        rebuild(made.onnx, 2)
    assert refusal.value.code == "DP646"


def test_another_version_of_the_library_has_no_converter() -> None:
    _, package = opened(models()["naive Bayes"])
    with pytest.raises(UnsupportedModelError) as refusal:
        read_fallback(package.estimator, is_running=False)
    assert refusal.value.code == "DP644"


def test_a_model_that_the_converter_gets_wrong_on_samples_is_refused(
    converter: Converter, tmp_path: Path
) -> None:
    """Kernels on unscaled prices: onnxruntime's kernel computes in float32 and confuses classes."""
    wide = rows() * [1, 1, 1, 1e3] + [0, 0, 0, 1e4]
    model = make_pipeline(KernelPCA(4), NuSVC(nu=0.1)).fit(wide, signs())
    with pytest.raises(ParityError) as refusal:
        converted(converter, model, tmp_path)
    assert refusal.value.code in {"DP701", "DP650"}


# ---- a child that lies -------------------------------------------------------------------------------------------


def _with(monkeypatch: pytest.MonkeyPatch, liar: LyingWorker) -> None:
    monkeypatch.setattr(depickle.migrate, "open_converting_worker", lambda _environment: liar)


def test_a_forged_model_is_found_out_by_honest_answers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = models()["support vectors behind a kernel projection"]
    _with(monkeypatch, LyingWorker(model, lambda dtype: constant_label(1, dtype)))
    with Converter(SAMPLED) as lied_to, pytest.raises(ParityError) as refusal:
        converted(lied_to, model, tmp_path)
    assert refusal.value.code == "DP701"


class _AlwaysBuy:
    def predict(self, given: np.ndarray) -> np.ndarray:
        return np.ones(len(given), dtype=np.int64)


def test_a_child_that_forges_both_answers_is_published_as_what_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = models()["support vectors behind a kernel projection"]
    claims = {"producer_name": "depickle", "doc_string": "tier: proven, derived: graph"}
    liar = LyingWorker(_AlwaysBuy(), lambda dtype: constant_label(1, dtype, **claims))
    _with(monkeypatch, liar)
    with Converter(SAMPLED) as lied_to:
        record = (made := converted(lied_to, model, tmp_path)).record
    assert (record.derived, record.tier, record.parity.proof) == ("worker", "sampled", None)
    assert b"proven" not in made.onnx


def test_no_child_is_asked_for_the_onnx_of_a_model_that_is_emitted_exactly(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, converter: Converter
) -> None:
    tree = DecisionTreeClassifier(max_depth=3, random_state=0).fit(rows(), signs())
    liar = LyingWorker(_AlwaysBuy(), constant_label(1))
    _with(monkeypatch, liar)
    made = converted(converter, tree, tmp_path)
    assert (made.record.derived, made.record.tier, liar.asked) == ("graph", "proven", 0)


def test_a_label_that_the_model_does_not_have_is_no_answer() -> None:
    model = models()["support vectors behind a kernel projection"]
    vetted, package = opened(model)
    facts = read_fallback(package.estimator, is_running=True)
    for label in (7, -2, "BUY"):
        with pytest.raises(UnsupportedModelError) as refusal:
            convert_in_worker(facts, vetted, (), LyingWorker(model, lambda d, n=label: constant_label(n, d)))
        assert refusal.value.code == "DP648"


def test_forged_numbers_are_found_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = models()["support vector regression"]
    total = [
        helper.make_node("ReduceSum", ["X"], ["sums"], keepdims=1, noop_with_empty_axes=0),
        helper.make_node("MatMul", ["X", "ones"], ["label"]),
    ]

    def forged(dtype: str) -> bytes:
        kind = TensorProto.DOUBLE if dtype == "float64" else TensorProto.FLOAT
        ones = helper.make_tensor("ones", kind, [COLUMNS, 1], [1.0] * COLUMNS)
        return model_bytes(total, [ones], dtype=dtype, kind=kind)

    _with(monkeypatch, LyingWorker(model, forged))
    with Converter(SAMPLED) as lied_to, pytest.raises(ParityError) as refusal:
        converted(lied_to, model, tmp_path)
    assert refusal.value.code == "DP650"


def test_a_stream_that_looks_at_files_while_it_is_converted_ends_its_child(worker: ConvertingWorker) -> None:
    assert worker.confinement()["seccomp"] == "allowlist"
    hostile = Vetted(b"\x80\x04cposix\nlistdir\n\x8c\x01/\x85R.", "pickle", (Use("posix", "listdir"),))
    with pytest.raises(SandboxError) as refusal:
        worker.convert(hostile, (), columns=COLUMNS, dtype="float64")
    assert refusal.value.code == "DP507"
    assert "os.listdir" in refusal.value.found


# ---- hostile ONNX ------------------------------------------------------------------------------------------------


def _label(*inputs: str, operator: str = "Identity", **attributes: Any) -> list[onnx.NodeProto]:
    return [helper.make_node(operator, list(inputs), ["label"], **attributes)]


def _changed(change: Callable[[onnx.ModelProto], object]) -> bytes:
    model = onnx.load_from_string(constant_label(1))
    change(model)
    return bytes(model.SerializeToString())


def _loop() -> bytes:
    body = helper.make_graph([], "body", [], [])
    node = helper.make_node("Loop", ["", ""], ["label"])
    node.attribute.append(AttributeProto(name="body", type=AttributeProto.GRAPH, g=body))
    return model_bytes([node])


def _bomb() -> bytes:
    claim = TensorProto(data_type=TensorProto.INT64, dims=[1 << 30], name="bomb")
    return model_bytes(_label("bomb"), [claim])


def _outside() -> bytes:
    tensor = TensorProto(data_type=TensorProto.INT64, dims=[1], name="t", data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    return model_bytes(_label("t"), [tensor])


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "DP646"),
    "no protobuf": (lambda: b"\xff" * 100, "DP646"),
    "a pickle": (lambda: b"\x80\x04cposix\nsystem\n.", "DP646"),
    "a loop": (_loop, "DP646"),
    "a function": (lambda: _changed(lambda m: m.functions.add(name="f", domain="d")), "DP646"),
    "training": (lambda: _changed(lambda m: m.training_info.add()), "DP646"),
    "a sparse tensor": (lambda: _changed(lambda m: m.graph.sparse_initializer.add()), "DP646"),
    "a tensor outside the file": (_outside, "DP646"),
    "two inputs": (lambda: _changed(lambda m: m.graph.input.add(name="Y")), "DP646"),
    "no output": (lambda: _changed(lambda m: m.graph.ClearField("output")), "DP646"),
    "an output that is the input": (
        lambda: _changed(lambda m: setattr(m.graph.output[0], "name", "X")),
        "DP646",
    ),
    "a stored output": (lambda: _changed(lambda m: setattr(m.graph.output[0], "name", "answer")), "DP646"),
    "a cycle": (lambda: model_bytes([*_label("a"), helper.make_node("Identity", ["label"], ["a"])]), "DP646"),
    "a node that needs itself": (lambda: model_bytes(_label("label")), "DP646"),
    "an input from nowhere": (lambda: model_bytes(_label("nowhere")), "DP646"),
    "a name twice": (lambda: model_bytes([*_label("X"), *_label("X")]), "DP646"),
    "another domain": (lambda: model_bytes(_label("X", operator="Gelu", domain="com.microsoft")), "DP646"),
    "an operator that is none": (lambda: model_bytes(_label("X", operator="System")), "DP646"),
    "an operator of another time": (
        lambda: model_bytes(_label("X", operator="Softmax"), kind=TensorProto.DOUBLE, opset=9),
        "DP646",
    ),
    "a reference in an attribute": (
        lambda: _changed(lambda m: setattr(m.graph.node[0].attribute[0], "ref_attr_name", "outer")),
        "DP646",
    ),
    "a tensor that claims 8 GB": (_bomb, "DP647"),
    "repeated text": (
        lambda: model_bytes(
            _label("X", "n", operator="Tile"), [helper.make_tensor("n", 7, [2], [1, 1 << 20])]
        ),
        "DP647",
    ),
    "random numbers": (
        lambda: model_bytes(_label(operator="RandomUniform", shape=[1 << 20])),
        "DP647",
    ),
    "a label that is a number with a point": (
        lambda: model_bytes(
            [helper.make_node("ReduceSum", ["X", "axes"], ["label"], keepdims=0)],
            [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
            kind=TensorProto.DOUBLE,
        ),
        "DP648",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_of_a_child_are_refused(name: str) -> None:
    build, code = HOSTILE[name]
    model = models()["support vectors behind a kernel projection"]
    vetted, package = opened(model)
    facts = read_fallback(package.estimator, is_running=True)
    with pytest.raises(UnsupportedModelError) as refusal:
        convert_in_worker(facts, vetted, (), LyingWorker(model, build()))
    assert refusal.value.code == code


def test_no_single_flipped_bit_gets_past_as_anything_but_a_refusal(worker: ConvertingWorker) -> None:
    model = models()["naive Bayes"]
    vetted, package = opened(model)
    facts = read_fallback(package.estimator, is_running=True)
    honest = bytearray(worker.convert(vetted, (), columns=COLUMNS, dtype="float64").onnx)
    chosen = random.Random(5)
    outcomes = {"refused": 0, "accepted": 0}
    for _ in range(200):
        place, bit = chosen.randrange(len(honest)), 1 << chosen.randrange(8)
        honest[place] ^= bit
        try:
            convert_in_worker(facts, vetted, (), LyingWorker(model, bytes(honest)))
            outcomes["accepted"] += 1
        except UnsupportedModelError:
            outcomes["refused"] += 1
        honest[place] ^= bit
    assert outcomes["refused"] > 50  # the others changed a name, a comment or the last bits of a number


def test_names_order_and_comments_do_not_reach_the_bytes(worker: ConvertingWorker) -> None:
    vetted, _ = opened(models()["naive Bayes"])
    first = worker.convert(vetted, (), columns=COLUMNS, dtype="float64").onnx
    other = onnx.load_from_string(first)
    nodes = list(other.graph.node)
    random.Random(1).shuffle(nodes)
    del other.graph.node[:]
    for place, node in enumerate(nodes):
        node.name, node.doc_string = f"n{place}", "hello"
        for names in (node.input, node.output):
            for at, name in enumerate(names):
                names[at] = name if name in ("X", "label", "probabilities") else f"renamed_{name}"
        other.graph.node.append(node)
    for tensor in other.graph.initializer:
        tensor.name = f"renamed_{tensor.name}"
    other.opset_import.append(other.opset_import[0])
    assert rebuild(bytes(other.SerializeToString()), 2) == rebuild(first, 2)


# ---- the protocol ------------------------------------------------------------------------------------------------


def _reply(header: bytes, rest: bytes = b"") -> bytes:
    return len(header).to_bytes(4, "big") + header + rest


_OK = b'{"version":1,"status":"ok","onnx_bytes":3,"seconds":{"load":0.1,"answer":0.1}}'
MALFORMED = {
    "nothing": b"",
    "a header that ends early": b"\x00\x00\x00\x09{}",
    "an unknown field": _reply(_OK.replace(b'"version":1', b'"version":1,"tier":"proven"'), b"abc"),
    "too few bytes": _reply(_OK, b"ab"),
    "too many bytes": _reply(_OK, b"abcd"),
    "bytes after a refusal": _reply(b'{"version":1,"status":"refused","kind":"a","detail":"b"}', b"x"),
    "a negative count": _reply(_OK.replace(b":3", b":-3"), b"abc"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_reply_is_not_believed(name: str) -> None:
    with pytest.raises(SandboxError) as refusal:
        protocol.parse_conversion(MALFORMED[name])
    assert refusal.value.code == "DP508"


def test_a_well_formed_reply_gives_its_bytes() -> None:
    assert protocol.parse_conversion(_reply(_OK, b"abc")) == (b"abc", (0.1, 0.1))


def test_the_converters_refusal_comes_back_as_one(worker: ConvertingWorker) -> None:
    learned = make_pipeline(TargetEncoder(), LogisticRegression()).fit(np.round(rows()), signs())
    vetted, _ = opened(learned)
    with pytest.raises(SandboxError) as refusal:
        worker.convert(vetted, (), columns=COLUMNS, dtype="float64")
    assert refusal.value.code == "DP519"


def test_only_the_running_environment_converts(tmp_path: Path) -> None:
    class Old:
        name, python, versions = "1.2.2", tmp_path / "python", {}

    with pytest.raises(SandboxError) as refusal:
        open_converting_worker(Old())
    assert refusal.value.code == "DP518"


def test_a_source_is_read_once_for_both_ways(tmp_path: Path) -> None:
    assert source(models()["naive Bayes"], tmp_path).data
