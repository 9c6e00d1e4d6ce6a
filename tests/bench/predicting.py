# SPDX-License-Identifier: Apache-2.0
"""One row through depickle, through onnxruntime alone, and through the estimator that was pickled."""

from __future__ import annotations

import warnings

import numpy as np
import onnxruntime as ort

from depickle_runtime import create_secure_ml_predictor
from examples.bars import load_bars
from examples.legacy_estate.honest import HONEST, Spec, build_package
from examples.trading_features import FEATURE_NAMES, feature_matrix

from .store import BenchStore
from .timing import print_table, seconds_per_call

__all__ = ["bench_load", "bench_predict"]


def _one_per_family() -> list[Spec]:
    packaged = [spec for spec in HONEST if spec.engineer is not None]
    return list({spec.family: spec for spec in packaged}.values())


def _bare_session(data: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def bench_predict(store: BenchStore) -> None:
    """One row: label and probabilities, in microseconds and against bare onnxruntime."""
    rows = []
    for spec in _one_per_family():
        row = feature_matrix(load_bars(spec.symbol).columns)[-1]
        model = store.load(spec.file_name)
        record = model.record
        bare = _bare_session(store.path_of(spec.file_name).read_bytes())
        feed = {record.input.name: row.astype(record.input.graph_dtype)[None]}
        wanted = [record.outputs.class_index, record.outputs.probabilities]
        original = build_package(spec)[spec.key]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a row without column names is what a trading loop hands over
            times = [
                seconds_per_call(lambda b=bare, w=wanted, f=feed: b.run(w, f)),
                seconds_per_call(lambda m=model, r=row: m.session.run_row(r)),
                seconds_per_call(lambda o=original, r=row[None]: o.predict_proba(r)),
            ]
        micro = [f"{t * 1e6:.1f}" for t in times]
        ratios = [f"{times[1] / times[0]:.2f}", f"{times[2] / times[1]:.1f}"]
        rows.append([f"{spec.symbol} {spec.family}", *micro, *ratios])
    head = [
        "µs per row",
        "onnxruntime alone",
        "depickle session",
        "original",
        "session ÷ alone",
        "original ÷ session",
    ]
    print_table("One row, label and probabilities", head, rows)
    _bench_signal(store)


def _bench_signal(store: BenchStore) -> None:
    """`predict_signal` as a whole, with features that cost nothing, so that the rest shows."""
    symbol = "EURUSD"
    bars = load_bars(symbol)
    features = dict(zip(FEATURE_NAMES, feature_matrix(bars.columns)[-1].tolist(), strict=True))
    predictor = create_secure_ml_predictor(
        models_dir=store.journey.models,
        db_path=store.journey.folder / "trades.db",
        feature_engineer=lambda market_data: features,
    )
    candles = bars.candles(len(bars) - 100, len(bars))
    unlogged = create_secure_ml_predictor(
        models_dir=store.journey.models, db_path=None, feature_engineer=lambda market_data: features
    )
    info = predictor.get_model_info(symbol) or {}
    record = store.loader.load_model(info["file"]).record
    bare = _bare_session((store.journey.models / info["file"]).read_bytes())
    feed = {record.input.name: np.array([list(features.values())], dtype=record.input.graph_dtype)}
    wanted = [record.outputs.class_index, record.outputs.probabilities]
    alone = seconds_per_call(lambda: bare.run(wanted, feed))
    # Back to back, the log's writer takes turns with the caller; one call a bar waits for no writer.
    calls = {"without a log": unlogged, "logged, back to back": predictor}
    times = {
        name: seconds_per_call(lambda p=p: p.predict_signal(symbol, candles)) for name, p in calls.items()
    }
    print_table(
        "predict_signal, from a dict of features to a signal",
        [f"{symbol}, current model", "µs", "÷ onnxruntime alone"],
        [
            ["onnxruntime alone", f"{alone * 1e6:.1f}", "1.00"],
            *([name, f"{t * 1e6:.1f}", f"{t / alone:.2f}"] for name, t in times.items()),
        ],
    )
    predictor.close()


def bench_load(store: BenchStore) -> None:
    """From a file in the store to something that answers."""
    rows = []
    for spec in _one_per_family():
        path = store.path_of(spec.file_name)
        bare = seconds_per_call(lambda p=path: _bare_session(p.read_bytes()))
        verified = seconds_per_call(lambda s=spec: store.load(s.file_name))
        size = f"{path.stat().st_size / 1024:.0f}"
        rows.append(
            [
                f"{spec.symbol} {spec.family}",
                size,
                f"{bare * 1e3:.2f}",
                f"{verified * 1e3:.2f}",
                f"{verified / bare:.1f}",
            ]
        )
    print_table("Loading a model", ["", "KB", "bare, ms", "verified, ms", "verified ÷ bare"], rows)
