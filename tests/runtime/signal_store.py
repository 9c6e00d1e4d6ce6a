# SPDX-License-Identifier: Apache-2.0
"""A simulated store whose models give signals: three classes with probabilities."""

from __future__ import annotations

import dataclasses
import functools
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from depickle_runtime import SecureMLPredictor
from depickle_runtime.metadata import describe_artefact, encode_metadata, sign_metadata
from depickle_runtime.store import NewArtefact
from depickle_runtime.trust import encode_policy
from tests.model_store_sim import StoreSimulator, linear_record

CATALOGUE_FEATURES = {
    "kind": "catalogue",
    "catalogue": "catalogue@1",
    "names": ["rsi_14", "bb_position", "cci_20"],
}


@functools.cache
def softmax_onnx(seed: int) -> bytes:
    """Three classes over three columns, probabilities by a soft-max."""
    weights = np.random.default_rng(seed).normal(size=(3, 3))
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["X", "W"], ["scores"], name="scores"),
            helper.make_node("Softmax", ["scores"], ["probabilities"], name="softmax", axis=1),
            helper.make_node("ArgMax", ["scores"], ["class_index"], name="argmax", axis=1, keepdims=0),
        ],
        "softmax",
        [helper.make_tensor_value_info("X", TensorProto.DOUBLE, [None, 3])],
        [
            helper.make_tensor_value_info("class_index", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.DOUBLE, [None, 3]),
        ],
        [helper.make_tensor("W", TensorProto.DOUBLE, weights.shape, weights.tobytes(), raw=True)],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10, producer_name="depickle"
    )
    return bytes(model.SerializeToString(deterministic=True))


def bare_session(data: bytes) -> onnxruntime.InferenceSession:
    """A session without any of the runtime's checks: the answer to compare with."""
    onnx.checker.check_model(onnx.load_from_string(data))
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


class SignalStore(StoreSimulator):
    """`StoreSimulator` with models that trade."""

    def __init__(self, root: Path, **options: Any) -> None:
        super().__init__(root, **options)
        self.now = datetime.now(UTC).replace(microsecond=0)

    def artefact(
        self, symbol: str = "EURUSD", *, seed: int = 0, skops: bytes | None = None, **record: Any
    ) -> NewArtefact:
        """A new artefact with the soft-max model."""
        plain = super().artefact(symbol, seed=seed, skops=skops)
        data = softmax_onnx(seed)
        described = describe_artefact(
            data, model_name=f"{symbol}_trader", version="1", created_at="2025-01-08T12:00:00Z", model_type="onnx",
            feature_names=["a", "b", "c"], performance_metrics={"accuracy": 0.75},
        )  # fmt: skip
        if self.secret is not None:
            described = sign_metadata(described, self.secret)
        rows = np.array([[0.0, 1.0, -1.0], [2.5, 0.5, 0.25]])
        index, chances = bare_session(data).run(None, {"X": rows})
        changes: dict[str, Any] = {
            "classes": [-1, 0, 1],
            "label_map": ["sell", "wait", "buy"],
            "outputs": {
                "label": None, "class_index": "class_index", "probabilities": "probabilities", "scores": None,
                "margin": None, "bound": None,
            },
            "probes": {
                "rows": [[x.hex() for x in row] for row in rows.tolist()],
                "class_index": index.tolist(),
                "probabilities": [[x.hex() for x in row] for row in chances.tolist()],
                "scores": None,
            },
        }  # fmt: skip
        made = linear_record(plain.stem, symbol, seed, **(changes | record))
        return dataclasses.replace(
            plain,
            onnx=data,
            metadata={**plain.metadata, f"{plain.stem}.onnx": encode_metadata(described)},
            record=json.dumps(made).encode(),
        )

    def predictor(self, **options: Any) -> SecureMLPredictor:
        """A trading host's predictor."""
        self.policy_path.write_bytes(encode_policy(self.policy))
        arguments: dict[str, Any] = {
            "db_path": self.root / "data" / "trades.db",
            "secret_key": self.secret_text,
            "trust_policy": self.policy_path if self.mode == "policy" else None,
            "environ": {},
            "feature_engineer": engineer,
        }
        return SecureMLPredictor(self.models_dir, **(arguments | options))


def engineer(data: Any) -> dict[str, float]:
    """The caller's features: the market data itself."""
    return dict(data)


def expected(seed: int, row: list[float]) -> tuple[float, int]:
    """Confidence and label that the bare model gives for a row."""
    index, chances = bare_session(softmax_onnx(seed)).run(None, {"X": np.array([row])})
    label = int(index[0]) - 1
    return label * float(chances[0][index[0]]) if label else 0.0, label
