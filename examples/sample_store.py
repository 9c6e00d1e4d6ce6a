# SPDX-License-Identifier: Apache-2.0
"""``make models``: the signed sample store in ``models/``, migrated from models of real bars under DEMO names.

Its symbols are ``DEMO_EURUSD``, ``DEMO_GOOG`` and ``DEMO_BTCUSD``, so that no trading system picks it up for a
real one; it is signed with the published demo key and believed under a policy for a demo store only.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from depickle_runtime.trust import KeyEntry, TrustPolicy, encode_policy

from .journey import ROOT, Journey, JourneyError
from .legacy_estate.build import FILES
from .legacy_estate.cache import cached_estate, estate_manifest

_KEY = ROOT / "examples" / "keys" / "demo-signing-key.pem"
_POLICY = _KEY.with_name("demo-policy.json")
_PER_SYMBOL = {
    "EURUSD": "RandomForestClassifier",
    "GOOG": "GradientBoostingClassifier",
    "BTCUSD": "LogisticRegression",
}


def main() -> int:
    """Rebuilds the store that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m examples.sample_store", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="replaced as a whole")
    out: Path = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder:
        try:
            store = _build(Path(folder))
        except JourneyError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(store, out, ignore=shutil.ignore_patterns(".lock"))
    print(f"{out}: {len(list(out.glob('*.onnx')))} models")
    return 0


def _build(folder: Path) -> Path:
    journey = Journey(folder)
    journey.models.mkdir()
    # a checkout does not keep modes, and a signing key that others may read is refused
    journey.signing_key = folder / "demo-signing-key.pem"
    journey.signing_key.touch(mode=0o600)
    journey.signing_key.write_bytes(_KEY.read_bytes())
    journey.policy = _POLICY
    _POLICY.write_bytes(_policy())
    rows, _ = journey.reference_rows()
    estate = cached_estate(quick=True)
    for entry in estate_manifest(estate):
        if entry["kind"] == "honest" and _PER_SYMBOL[entry["symbol"]] == entry["family"]:
            shutil.copy(estate / FILES / entry["file"], journey.models / f"DEMO_{entry['file']}")
            journey.migrate(rows, "--symbol", f"DEMO_{entry['symbol']}", "--no-backup")
            (journey.models / f"DEMO_{entry['file']}").unlink()
    return journey.models


def _policy() -> bytes:
    """The policy that believes the published demo key, for a demo store."""
    private = load_pem_private_key(_KEY.read_bytes(), password=None)
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    entry = KeyEntry(owner="DEMO operator", scheme="ecdsa-sha2-nistp256", public=public.decode("ascii"))
    return encode_policy(TrustPolicy(schema_version=1, store_name="demo", threshold=1, keys=[entry]))


if __name__ == "__main__":
    raise SystemExit(main())
