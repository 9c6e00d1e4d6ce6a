# SPDX-License-Identifier: Apache-2.0
"""Whatever the bytes, the gate answers with a verdict: no exception, no import, no effect, within its bounds."""

from __future__ import annotations

import io
import pickle
import random
import time
import zlib

import joblib
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from depickle.errors import GateRefusedError
from depickle.pickles import Verdict, scan, vet
from depickle.pickles.interpreter import OPCODE_NAMES

from ..converter.pickle_samples import models

#: Seconds for one small mutated file; the promise for any file is two.
SLOWEST = 2.0


def corpus() -> list[bytes]:
    """Honest streams to mutate: every protocol, joblib's arrays, and compression."""
    found = []
    for name in (
        "scaler",
        "tree",
        "histogram boosting",
        "package",
        "lightgbm",
        "xgboost booster",
        "neighbours",
    ):
        value = models()[name]
        found += [pickle.dumps(value, protocol) for protocol in (0, 2, 4, 5)]
        file = io.BytesIO()
        joblib.dump(value, file)
        found.append(file.getvalue())
    found.append(zlib.compress(found[0]))
    return found


CORPUS = corpus()


def judged(data: bytes) -> Verdict:
    """The verdict, once `scan` and `vet` agree on it and neither took too long."""
    begin = time.perf_counter()
    result = scan(data)
    assert time.perf_counter() - begin < SLOWEST
    if result.verdict is Verdict.ACCEPTED:
        assert vet(data).sha256 == result.sha256
    else:
        assert result.findings
        with pytest.raises(GateRefusedError):
            vet(data)
    return result.verdict


def mutated(rng: random.Random) -> bytes:
    """One honest stream with a few bytes changed, cut, doubled or taken from another."""
    data = bytearray(rng.choice(CORPUS))
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0 if at < len(data):
                data[at] = rng.randrange(256)
            case 1 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 2:
                del data[at : at + rng.randrange(1, 20)]
            case 3:
                data[at:at] = data[at : at + rng.randrange(1, 40)]
            case 4:
                data[at:at] = bytes([rng.choice(list(OPCODE_NAMES))])
            case _:
                other = rng.choice(CORPUS)
                cut = rng.randrange(len(other))
                data[at : at + 10] = other[cut : cut + rng.randrange(1, 60)]
    return bytes(data)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=300))
def test_random_bytes_give_a_verdict(data):
    judged(data)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(sorted(OPCODE_NAMES)), max_size=60), st.binary(max_size=60))
def test_random_opcodes_give_a_verdict(opcodes, tail):
    judged(b"\x80\x04" + bytes(opcodes) + tail)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(min_value=0, max_value=2**40))
def test_mutated_models_give_a_verdict(seed):
    judged(mutated(random.Random(seed)))


@pytest.mark.slow
def test_two_hundred_thousand_mutated_models_give_verdicts():
    rng = random.Random(20250108)
    verdicts = dict.fromkeys(Verdict, 0)
    for _ in range(200_000):
        verdicts[scan(mutated(rng)).verdict] += 1
    print(verdicts)
    assert sum(verdicts.values()) == 200_000


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text(max_size=20)
        | st.binary(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.tuples(inner, inner)
            | st.dictionaries(st.text(max_size=5) | st.integers(-9, 9), inner, max_size=4)
        ),
        max_leaves=20,
    ),
    st.integers(0, 5),
)
def test_plain_values_are_accepted_in_every_protocol(value, protocol):
    data = pickle.dumps(value, protocol)
    surrogate = any(0xD800 <= ord(letter) < 0xE000 for letter in repr(value)) or "\\ud" in repr(value)
    assert surrogate or judged(data) is Verdict.ACCEPTED
