# SPDX-License-Identifier: Apache-2.0
"""Models without an exact conversion, converted by scikit-learn's own converter in the confined worker.

Rules:

1. Only what the operator admitted by name (`--accept sampled`), only classes of `fallback_classes`, and only where
   the environment that wrote the model is the one that runs depickle: no other has the converter.
2. What kind of model it is, how many columns it takes and which labels it knows is read from the inert graph. The
   child decides none of it.
3. The child's bytes are hostile. They are taken apart and rebuilt (`canonical`), get outputs of ours, pass the same
   ONNX gate as every model, and are opened before anything else is done with them.
4. The answer of the child is a label; the class is looked up in the table of the inert graph. A label that the table
   does not hold makes the run fail instead of naming a class.
5. The tier is `sampled` and the record says `derived: worker`, whatever the child says.

Example::

    model = read_fallback(package.estimator, environment=environment)
    emitted = convert_in_worker(model, vetted, package, worker)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto
from onnx.helper import make_attribute

from depickle_runtime.errors import ModelContractError, OnnxRefusedError
from depickle_runtime.onnx_gate import check_onnx
from depickle_runtime.record import InputContract, OutputNames, Task
from depickle_runtime.session import Answers, open_session

from ..errors import SandboxError, UnsupportedModelError
from ..models.attributes import class_labels, describe, integer, wrong
from ..models.types import ClassLabel
from ..parity.sampled import (
    SAMPLED_TOLERANCE,
    Surroundings,
    around_rows,
    furthest,
    read_surroundings,
    sampled_rows,
)
from ..pickles.graph import Array, DictNode, ListNode, Record, Value, plain
from ..sandbox import ReferenceAnswers
from ..sandbox.converting import Conversion
from ..sandbox.served import SupportsVetted
from .canonical import OPSETS, Rebuilt, rebuild
from .emitting import EmittedModel
from .fallback_classes import (
    HELPERS,
    NOT_RUNNABLE,
    PARAMETERS_WRONG,
    PREDICTORS,
    SEARCHES,
    SELECTORS,
    SILENTLY_WRONG,
    TRANSFORMERS,
    WRONG_LOSSES,
)
from .graph import IR_VERSION, PRODUCER, Graph

__all__ = ["FALLBACK_CODES", "FallbackModel", "SupportsConverting", "convert_in_worker", "read_fallback"]

FALLBACK_CODES: Final = frozenset(("DP600", "DP603", "DP609"))
"""Refusals of the exact conversion that say "not this class, not this parameter"; damage is never a reason to try."""

MAX_RECORDS: Final = 1_000_000
"""Values that are looked through for estimators; the gate has bounded the graph before."""
_DTYPES: Final[tuple[Literal["float64", "float32"], ...]] = ("float64", "float32")
"""In this order: double input spares the row a rounding, where onnxruntime has the kernels."""
_TRIAL_ROWS: Final = 64
_OUTLIER_CLASSES: Final = (-1, 1)


class SupportsConverting(Protocol):
    """What is needed of a `ConvertingWorker`."""

    def convert(
        self,
        vetted: SupportsVetted,
        estimator_path: Sequence[str | int],
        *,
        columns: int,
        dtype: Literal["float64", "float32"],
    ) -> Conversion:
        """ONNX bytes of the child."""

    def answers(
        self,
        vetted: SupportsVetted,
        estimator_path: Sequence[str | int],
        rows: npt.NDArray[np.float64],
        *,
        methods: tuple[str, ...],
    ) -> ReferenceAnswers:
        """Reference answers of the original."""


@dataclass(frozen=True)
class FallbackModel:
    """What the inert graph says of a model that only the converter of its library can convert.

    Attributes:
        task: classifier, regressor or outlier.
        classes: labels in class order, or None for a regressor.
        n_features: columns of a row.
        feature_names: as the estimator recorded them, or None.
        allow_nan: whether missing values are admitted.
        family: the classes of the pipeline, for the record.
        around: where it was trained, as far as the graph says.
        ceiling: always ``sampled``.
        reason: why it is no better.
    """

    task: Task
    classes: tuple[ClassLabel, ...] | None
    n_features: int
    feature_names: tuple[str, ...] | None
    allow_nan: bool
    family: str
    around: Surroundings
    ceiling: Literal["sampled"] = "sampled"
    reason: str = (
        "converted by scikit-learn's converter in the worker; nothing of it is derived from the graph"
    )

    def with_rows(self, rows: npt.NDArray[np.float64]) -> FallbackModel:
        """The same model, to be sampled around `rows` of the user's."""
        return replace(self, around=around_rows(rows))


def read_fallback(estimator: Record, *, is_running: bool) -> FallbackModel:
    """What can be known without running anything, or the refusal.

    Args:
        estimator: record of the estimator.
        is_running: whether the environment that answers for the file is the one that runs depickle.

    Raises:
        UnsupportedModelError: DP642 for a class that is on no list, DP643 for one that the converter is known to get
            wrong, DP644 where no converter exists for the writer's version, DP649 for one that the gate would
            refuse, DP602 for attributes that are none.
    """
    if not is_running:
        raise UnsupportedModelError(
            "There is no converter for the version that wrote this model",
            code="DP644",
            where=estimator.name,
            found="a worker environment of another version",
            expected="the versions that depickle itself runs with",
            next_step="refit and save the model with the scikit-learn that depickle runs with",
        )
    steps, last = _unfolded(estimator)
    for part in _records(estimator):
        _check_part(part)
    for step in steps:
        if step.cls not in TRANSFORMERS:
            raise _unlisted(step)
    task = PREDICTORS.get(last.cls)
    if task is None:
        raise _unlisted(last)
    head = steps[0] if steps else last
    inner = head.get("estimator_")
    if head.get("n_features_in_") is None and isinstance(inner, Record):
        features = integer(inner, "n_features_in_", low=1)
    else:
        features = integer(head, "n_features_in_", low=1)
    classes: tuple[ClassLabel, ...] | None = None
    if task == "classifier":
        classes = _classes(last)
    elif task == "outlier":
        classes = _OUTLIER_CLASSES
    return FallbackModel(
        task=task,
        classes=classes,
        n_features=features,
        feature_names=_feature_names(head, features),
        allow_nan=head.cls == "sklearn.impute._base.SimpleImputer",
        family=_family(estimator, steps, last),
        around=read_surroundings(estimator, features=features),
    )


def convert_in_worker(
    model: FallbackModel,
    vetted: SupportsVetted,
    estimator_path: Sequence[str | int],
    worker: SupportsConverting,
) -> EmittedModel:
    """Have the confined worker convert the model, and make of its bytes a model that can be published.

    Args:
        model: what the inert graph says.
        vetted: the file, past the gate.
        estimator_path: keys from the root of the package to the model.
        worker: a converting worker of the writer's environment.

    Raises:
        UnsupportedModelError: DP645 the converter refuses the model, DP646 its bytes cannot be taken over, DP647 they
            break a rule of the ONNX gate, DP648 onnxruntime cannot run them or their outputs are not those of the
            model.
        SandboxError: whatever else keeps the worker from answering.
    """
    rows = sampled_rows(model.around, allow_nan=False, seed=0)[0].values[:_TRIAL_ROWS]
    methods = ("predict", "predict_proba", "decision_function")
    asked = methods if model.task != "regressor" else methods[:1]
    original = worker.answers(vetted, estimator_path, rows, methods=asked)
    failure: UnsupportedModelError | None = None
    for dtype in _DTYPES:
        try:
            data = _converted(model, vetted, estimator_path, worker, dtype)
            return _tried(model, data, dtype, rows, original)
        except UnsupportedModelError as error:
            failure = error
    if failure is None:
        raise _refused("DP645", "no dtype was tried", "one", model)
    raise failure


def _converted(
    model: FallbackModel,
    vetted: SupportsVetted,
    estimator_path: Sequence[str | int],
    worker: SupportsConverting,
    dtype: Literal["float64", "float32"],
) -> bytes:
    try:
        return worker.convert(vetted, estimator_path, columns=model.n_features, dtype=dtype).onnx
    except SandboxError as error:
        if error.code != "DP519":
            raise
        raise _refused(
            "DP645", error.found, "a model that scikit-learn's converter converts", model
        ) from error


def _tried(
    model: FallbackModel,
    data: bytes,
    dtype: Literal["float64", "float32"],
    rows: npt.NDArray[np.float64],
    original: ReferenceAnswers,
) -> EmittedModel:
    """The child's bytes with outputs of ours; whichever further outputs agree with the original on trial rows."""
    contract = InputContract(
        name="X",
        dtype="float64",
        graph_dtype=dtype,
        features=model.n_features,
        allow_nan=model.allow_nan,
        allow_infinite=False,
        max_abs=model.around.limit.hex(),
    )
    further: list[str] = []
    if model.task == "classifier" and original.predict_proba is not None:
        further = ["probabilities"]
    elif model.task == "outlier" and original.decision_function is not None:
        further = ["scores"]
    emitted, answers = _opened(model, rebuild(data, len(further) + 1), further, contract, rows)
    given = answers.probabilities if further == ["probabilities"] else answers.scores
    wanted = original.predict_proba if further == ["probabilities"] else original.decision_function
    if further and furthest(wanted, given) > SAMPLED_TOLERANCE:
        # Scores on another scale are of no use, probabilities are what a model is asked for.
        if further == ["probabilities"]:
            found = f"probabilities {furthest(wanted, given):.2g} apart"
            raise _refused("DP648", found, f"at most {SAMPLED_TOLERANCE:g}", model)
        emitted, _ = _opened(model, rebuild(data, 1), [], contract, rows)
    return emitted


def _opened(
    model: FallbackModel,
    rebuilt: Rebuilt,
    further: Sequence[str],
    contract: InputContract,
    rows: npt.NDArray[np.float64],
) -> tuple[EmittedModel, Answers]:
    data, outputs = _assembled(model, rebuilt, further, contract)
    try:
        onnx = check_onnx(data)
        answers = open_session(onnx, contract=contract, outputs=outputs).run(rows)
    except OnnxRefusedError as error:
        raise _refused("DP647", f"{error.code}: {error.found}", error.expected, model) from error
    except ModelContractError as error:
        raise _refused("DP648", f"{error.code}: {error.found}", error.expected, model) from error
    emitted = EmittedModel(
        onnx=data,
        input=contract,
        outputs=outputs,
        task=model.task,
        classes=model.classes,
        gamma=None,
        max_batch=None,
    )
    return emitted, answers


def _assembled(
    model: FallbackModel, rebuilt: Rebuilt, further: Sequence[str], contract: InputContract
) -> tuple[bytes, OutputNames]:
    """Canonical bytes: the child's nodes, then ours from its outputs to those of the record."""
    proto = ModelProto(ir_version=IR_VERSION, producer_name=PRODUCER)
    for domain, number in OPSETS.items():
        proto.opset_import.append(OperatorSetIdProto(domain=domain, version=number))
    graph = proto.graph
    graph.name = PRODUCER
    graph.input.append(_value_info("X", _ELEMENT[contract.graph_dtype], model.n_features))
    graph.node.extend(rebuilt.nodes)
    graph.initializer.extend(rebuilt.initializers)
    tail = _Tail(graph.node, graph.initializer)
    named: dict[str, str] = {}
    if model.classes is not None:
        index = _class_index(tail, rebuilt, model, model.classes)
        graph.output.append(_value_info("label", _label_type(model.classes), None))
        graph.output.append(_value_info("class_index", TensorProto.INT64, None))
        tail.node("Gather", [tail.labels(model.classes), index], "label")
        named |= {"label": "label", "class_index": index}
    else:
        column = tail.node("Reshape", [rebuilt.outputs[0], tail.shape(-1, 1)])
        named["scores"] = tail.node("Cast", [column], "scores", to=int(TensorProto.DOUBLE))
        graph.output.append(_value_info("scores", TensorProto.DOUBLE, 1))
    for place, name in enumerate(further, start=1):
        width = len(model.classes or ()) if name == "probabilities" else 1
        table = tail.node("Reshape", [rebuilt.outputs[place], tail.shape(-1, width)])
        named[name] = tail.node("Cast", [table], name, to=int(TensorProto.DOUBLE))
        graph.output.append(_value_info(name, TensorProto.DOUBLE, width))
    outputs = OutputNames(
        label=named.get("label"),
        class_index=named.get("class_index"),
        probabilities=named.get("probabilities"),
        scores=named.get("scores"),
    )
    data: bytes = proto.SerializeToString(deterministic=True)
    return data, outputs


def _class_index(tail: _Tail, rebuilt: Rebuilt, model: FallbackModel, classes: tuple[ClassLabel, ...]) -> str:
    """From the label that the child's graph answers to its place in the table of the inert graph."""
    label = tail.node("Reshape", [rebuilt.outputs[0], tail.shape(-1)])
    element = rebuilt.elements[0]
    if element == TensorProto.BOOL:
        label = tail.node("Cast", [label], to=int(TensorProto.INT64))
        element = TensorProto.INT64
    text = all(isinstance(item, str) for item in classes)
    whole = all(not isinstance(item, str) and float(item).is_integer() for item in classes)
    if not (element == TensorProto.STRING and text) and not (element == TensorProto.INT64 and whole):
        found = f"a label of element type {element} for classes {classes!r:.80}"
        raise _refused("DP648", found, "labels like those of the model", model)
    keys = (
        {"keys_strings": [str(item) for item in classes]}
        if text
        else {"keys_int64s": [int(c) for c in classes]}
    )
    # A label that is on no list becomes a place past the end, and the lookup after it fails.
    looked_up = tail.node(
        "LabelEncoder",
        [label],
        domain="ai.onnx.ml",
        **keys,
        values_int64s=list(range(len(classes))),
        default_int64=len(classes),
    )
    places = tail.constant(np.arange(len(classes), dtype=np.int64))
    return tail.node("Gather", [places, looked_up], "class_index")


class _Tail:
    """Appends nodes after those of the child, under names that those cannot have."""

    def __init__(self, nodes: object, initializers: object) -> None:
        self._nodes: list[NodeProto] = nodes  # type: ignore[assignment]  # a repeated field is a list of protos
        self._initializers: list[TensorProto] = initializers  # type: ignore[assignment]  # likewise
        self._count = 0

    def node(
        self, operator: str, inputs: list[str], name: str = "", *, domain: str = "", **attributes: object
    ) -> str:
        """Append a node; returns the name of its output."""
        if not name:
            name = f"v{self._count}"
            self._count += 1
        made = NodeProto(op_type=operator, domain=domain, input=inputs, output=[name])
        for key in sorted(attributes):
            made.attribute.append(make_attribute(key, attributes[key]))
        self._nodes.append(made)
        return name

    def constant(self, values: npt.NDArray[np.int64] | npt.NDArray[np.float64]) -> str:
        """A stored vector."""
        return self._store(Graph.tensor(values, "int64" if values.dtype.kind == "i" else "float64"))

    def shape(self, *sizes: int) -> str:
        """A stored shape."""
        return self.constant(np.array(sizes, dtype=np.int64))

    def labels(self, classes: tuple[ClassLabel, ...]) -> str:
        """The table of labels."""
        if _label_type(classes) == TensorProto.STRING:
            tensor = TensorProto(data_type=TensorProto.STRING, dims=[len(classes)])
            tensor.string_data.extend(str(label).encode() for label in classes)
            return self._store(tensor)
        if _label_type(classes) == TensorProto.DOUBLE:
            return self.constant(np.array(classes, dtype=np.float64))
        return self.constant(np.array([int(label) for label in classes], dtype=np.int64))

    def _store(self, tensor: TensorProto) -> str:
        tensor.name = f"c{self._count}"
        self._count += 1
        self._initializers.append(tensor)
        return tensor.name


_ELEMENT: Final = {"float64": int(TensorProto.DOUBLE), "float32": int(TensorProto.FLOAT)}


def _label_type(classes: tuple[ClassLabel, ...]) -> int:
    if isinstance(classes[0], str):
        return int(TensorProto.STRING)
    return int(TensorProto.DOUBLE if isinstance(classes[0], float) else TensorProto.INT64)


def _value_info(name: str, element: int, columns: int | None) -> ValueInfoProto:
    info = ValueInfoProto(name=name)
    info.type.tensor_type.elem_type = element
    info.type.tensor_type.shape.dim.add().dim_param = "N"
    if columns is not None:
        info.type.tensor_type.shape.dim.add().dim_value = columns
    return info


# ---- what the inert graph says -----------------------------------------------------------------------------------


def _unfolded(estimator: Record) -> tuple[list[Record], Record]:
    """Transformers in order, and the predictor behind them; searches stand for what they found."""
    steps: list[Record] = []
    for _ in range(16):
        if estimator.cls in SEARCHES:
            found = estimator.get("best_estimator_")
            if not isinstance(found, Record):
                raise wrong(estimator, "best_estimator_", found, "the estimator that was found")
            estimator = found
        elif estimator.cls == "sklearn.pipeline.Pipeline":
            parts = _pipeline(estimator)
            steps += parts[:-1]
            estimator = parts[-1]
        else:
            return steps, estimator
    raise _unlisted(estimator)


def _pipeline(record: Record) -> list[Record]:
    value = record.get("steps")
    parts: list[Record] = []
    for pair in value if isinstance(value, ListNode) else ():
        step = pair[1] if isinstance(pair, ListNode) and len(pair) == 2 else None
        if isinstance(step, Record):
            parts.append(step)
        elif plain(step) not in (None, "passthrough"):
            raise wrong(record, "steps", value, "pairs of a name and an estimator")
    if not parts:
        raise wrong(record, "steps", value, "at least one estimator")
    return parts


def _records(root: Record) -> Iterator[Record]:
    """Every record that is reachable, each once."""
    seen: set[int] = set()
    waiting: list[Value] = [root]
    while waiting:
        value = waiting.pop()
        if not isinstance(value, Record | ListNode | DictNode | Array) or id(value) in seen:
            continue
        seen.add(id(value))
        if len(seen) > MAX_RECORDS:
            raise _unlisted(root)
        if isinstance(value, Record):
            yield value
            if value.cls in SELECTORS:
                continue
            waiting += [value.state, *value.args, *value.kwargs.values(), *(value.listitems or ())]
            waiting += list((value.dictitems or {}).values())
        elif isinstance(value, ListNode):
            waiting += value.items
        elif isinstance(value, DictNode):
            waiting += list(value.items.values())
        else:
            waiting += value.objects or ()


def _check_part(part: Record) -> None:
    if part.cls in SILENTLY_WRONG:
        raise _silently_wrong(part)
    if part.cls in NOT_RUNNABLE:
        raise UnsupportedModelError(
            "The ONNX gate refuses what scikit-learn's converter makes of this class",
            code="DP649",
            where=part.name,
            found=f"{part.cls}: {NOT_RUNNABLE[part.cls]}",
            expected="a class without a loop",
            next_step="refit with a class of docs/coverage.md",
        )
    if part.module.partition(".")[0] in ("lightgbm", "xgboost"):
        raise _silently_wrong(part)
    if part.cls == "sklearn.linear_model._stochastic_gradient.SGDClassifier":
        if plain(part.get("loss")) in WRONG_LOSSES:
            raise _silently_wrong(part)
    elif part.cls == "sklearn.naive_bayes.BernoulliNB":
        threshold = plain(part.get("binarize"))
        if isinstance(threshold, int | float) and float(np.float32(threshold)) != threshold:
            raise _silently_wrong(part)
    if part.get("_sklearn_version") is None:
        return
    if not (
        part.cls in PREDICTORS or part.cls in TRANSFORMERS or part.cls in SEARCHES or part.cls in HELPERS
    ):
        raise _unlisted(part)


def _classes(last: Record) -> tuple[ClassLabel, ...]:
    value = last.get("classes_")
    for holder in ("label_binarizer_", "le_", "_label_encoder"):
        inner = last.get(holder)
        if value is None and isinstance(inner, Record):
            value = inner.get("classes_")
    if isinstance(value, ListNode):
        raise UnsupportedModelError(
            "The model answers with several outputs for one row",
            code="DP607",
            where=last.name,
            found=describe(value),
            expected="one label for a row",
            next_step="Fit one model per target",
        )
    return class_labels(last, "classes_", value)


def _feature_names(head: Record, columns: int) -> tuple[str, ...] | None:
    value = head.get("feature_names_in_")
    if not isinstance(value, Array) or value.objects is None:
        return None
    names = [plain(item) for item in value.objects]
    if len(names) != columns or not all(isinstance(name, str) for name in names):
        return None
    return tuple(str(name) for name in names)


def _family(estimator: Record, steps: Sequence[Record], last: Record) -> str:
    if estimator is last:
        return last.name
    return f"Pipeline({', '.join([*(step.name for step in steps), last.name])})"


def _unlisted(record: Record) -> UnsupportedModelError:
    return UnsupportedModelError(
        "The fallback does not convert this class",
        code="DP642",
        where=record.name,
        found=record.cls,
        expected="a class of docs/coverage.md",
        next_step="refit with a class of docs/coverage.md",
    )


def _silently_wrong(record: Record) -> UnsupportedModelError:
    package = record.module.partition(".")[0]
    reason = SILENTLY_WRONG.get(record.cls) or PARAMETERS_WRONG.get(record.cls) or PARAMETERS_WRONG[package]
    return UnsupportedModelError(
        "scikit-learn's converter is known to get this class wrong without saying so",
        code="DP643",
        where=record.name,
        found=f"{record.cls}: {reason}",
        expected="a class that is converted exactly, or a class without known errors",
        next_step="refit with a class of docs/coverage.md",
    )


def _refused(code: str, found: str, expected: str, model: FallbackModel) -> UnsupportedModelError:
    message = {
        "DP645": "scikit-learn's converter refuses this model",
        "DP647": "What the converter made breaks a rule of the ONNX gate",
        "DP648": "What the converter made does not answer as this model does",
    }[code]
    return UnsupportedModelError(
        message,
        code=code,
        where=model.family,
        found=found,
        expected=expected,
        next_step="refit with a class of docs/coverage.md",
    )
