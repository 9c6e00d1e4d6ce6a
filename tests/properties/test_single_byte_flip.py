# SPDX-License-Identifier: Apache-2.0
"""Any one changed byte in any file of a store is refused with a typed error, and never with another exception."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from depickle_runtime.errors import SecurityError
from depickle_runtime.loader import SecureModelLoader
from depickle_runtime.store import RELEASE_NAME, WHITELIST_NAME, ModelStore
from tests.model_store_sim import SECRET, StoreSimulator

FLIPS_PER_FILE = 60
"""In the fast run; the slow one takes every byte."""


def refused(loader: SecureModelLoader) -> bool:
    """Whether a load of everything refuses something; anything but a `SecurityError` fails the test."""
    try:
        _, refusals = loader.load_current()
    except SecurityError as fault:
        assert fault.code.startswith("DP1")
        return True
    assert all(fault.code.startswith("DP1") for fault in refusals.values())
    return bool(refusals)


def check(sim: StoreSimulator, name: str, flips: list[tuple[int, int]]) -> None:
    path = sim.path(name)
    honest = path.read_bytes()
    allowed = sim.whitelist()
    for offset, value in flips:
        changed = bytearray(honest)
        changed[offset] ^= value
        path.write_bytes(bytes(changed))
        loader = sim.loader(host="flips")
        if name == WHITELIST_NAME and same_whitelist(sim, allowed):
            continue  # white space of a file that operators edit by hand: it says the same as before
        assert refused(loader), f"{name} at {offset} xor {value}"
    path.write_bytes(honest)
    assert not refused(sim.loader(host="flips"))


def same_whitelist(sim: StoreSimulator, allowed: dict[str, str]) -> bool:
    try:
        return ModelStore(sim.models_dir).whitelist() == allowed
    except SecurityError:
        return False


@pytest.mark.parametrize(("mode", "secret"), [("policy", None), ("policy", SECRET), ("secret", SECRET)])
def test_a_random_flip_in_any_file_is_refused(tmp_path: Path, mode: str, secret: str | None) -> None:
    sim = StoreSimulator(tmp_path, mode=mode, secret=secret)
    sim.publish_symbols("EURUSD")
    rng = random.Random(20250108)
    names = [*sim.release().files, RELEASE_NAME, WHITELIST_NAME]
    assert len(names) == 5
    for name in names:
        size = sim.path(name).stat().st_size
        flips = [(rng.randrange(size), rng.randrange(1, 256)) for _ in range(FLIPS_PER_FILE // 3)]
        check(sim, name, flips)


@pytest.mark.slow
def test_every_single_bit_of_every_file_is_refused(tmp_path: Path) -> None:
    sim = StoreSimulator(tmp_path)
    sim.publish_symbols("EURUSD")
    for name in [*sim.release().files, RELEASE_NAME, WHITELIST_NAME]:
        size = sim.path(name).stat().st_size
        check(sim, name, [(offset, 1 << (offset % 8)) for offset in range(size)])


def test_a_truncated_file_of_any_kind_is_refused(tmp_path: Path) -> None:
    sim = StoreSimulator(tmp_path)
    sim.publish_symbols("EURUSD")
    for name in [*sim.release().files, RELEASE_NAME, WHITELIST_NAME]:
        honest = sim.path(name).read_bytes()
        for length in (0, 1, len(honest) // 2, len(honest) - 2):
            sim.path(name).write_bytes(honest[:length])
            assert refused(sim.loader(host="cuts")), f"{name} cut to {length}"
        sim.path(name).write_bytes(honest)
