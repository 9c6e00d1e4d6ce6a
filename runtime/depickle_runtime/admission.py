# SPDX-License-Identifier: Apache-2.0
"""What somebody decided about an artefact: the operator's whitelist, revocations, and the policy's admitted tiers.

These are decisions, kept apart from damage: a model that runs is stopped by one of them and not by a broken file.
They need no more of an artefact than its name, digest and tier, so they can be asked again about what runs.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from .errors import NotAllowedError, RevokedError
from .record import Tier
from .release import SignedRelease
from .state import TrustState
from .store import WHITELIST_NAME, ModelStore
from .trust import DEFAULT_TIERS, PolicyTrust, Trust

__all__ = ["Admission"]


@dataclass(frozen=True, slots=True)
class Admission:
    """A store's whitelist, what this host remembers of the store, and the trust that names the tiers."""

    store: ModelStore
    trust: Trust
    state: TrustState

    def check_whitelist(self, name: str, sha256: str) -> None:
        """Check the operator's whitelist: step 5.

        Args:
            name: name of the artefact.
            sha256: its signed digest.

        Raises:
            NotAllowedError: DP131 to DP134.
            StoreError: DP138, DP142, DP143.
        """
        allowed = self.store.whitelist().get(name)
        if allowed is None:
            raise NotAllowedError(
                "The whitelist does not name this file",
                code="DP133",
                where=f"{WHITELIST_NAME}, {name}",
                found="no entry",
                expected=sha256,
                next_step=f"if it is to be loaded, the operator adds it: depickle allow --propose {name}",
            )
        if not hmac.compare_digest(allowed, sha256):
            raise NotAllowedError(
                "The whitelist names this file with another digest",
                code="DP134",
                where=f"{WHITELIST_NAME}, {name}",
                found=allowed,
                expected=sha256,
                next_step="find out which of the two is right before changing either",
            )

    def check_revoked(self, name: str, sha256: str, store_name: str, signed: SignedRelease | None) -> None:
        """Check the revocations of the release and of every earlier one that this host has seen: step 5.

        Args:
            name: name of the artefact, for the error.
            sha256: its digest.
            store_name: the store.
            signed: the release; None where there is none that verifies, and the memory alone answers.

        Raises:
            RevokedError: DP135.
            StoreError: DP150, DP151.
        """
        reason = self.revocation(sha256, store_name, signed)
        if reason is not None:
            raise RevokedError(
                "The model was revoked",
                code="DP135",
                where=name,
                found=reason or "no reason given",
                expected="a model that is not revoked",
                next_step="load another version; a revocation is never taken back, publish a new model instead",
            )

    def revocation(self, sha256: str, store_name: str, signed: SignedRelease | None) -> str | None:
        """Why a digest is revoked, by the release or by what this host remembers of the store; None if it is not.

        Args:
            sha256: the digest.
            store_name: the store.
            signed: the release; None where there is none that verifies, and the memory alone answers.

        Raises:
            StoreError: DP150, DP151.
        """
        listed = [] if signed is None else signed.release.revocations
        reasons = {item.sha256: item.reason for item in listed}
        remembered = self.state.read(store_name)
        if remembered is not None:
            reasons = {**remembered.revoked, **reasons}
        return reasons.get(sha256)

    def check_tier(self, name: str, tier: Tier) -> None:
        """Check that the policy admits the model's tier: step 5.

        Args:
            name: name of the artefact, for the error.
            tier: the tier of its record.

        Raises:
            NotAllowedError: DP136.
        """
        admitted = (
            frozenset(self.trust.policy.admitted_tiers)
            if isinstance(self.trust, PolicyTrust)
            else DEFAULT_TIERS
        )
        if tier not in admitted:
            raise NotAllowedError(
                "The model's tier is not admitted",
                code="DP136",
                where=name,
                found=tier,
                expected=" or ".join(sorted(admitted)) or "none",
                next_step="add the tier to admitted_tiers of the trust policy, if its evidence is enough",
            )

    def check(self, name: str, sha256: str, tier: Tier, signed: SignedRelease) -> None:
        """Check everything about an artefact that somebody decided, and nothing that can be damaged: step 5.

        Args:
            name: name of the artefact.
            sha256: its signed digest.
            tier: the tier of its record.
            signed: the release.

        Raises:
            NotAllowedError: DP131 to DP134, DP136.
            RevokedError: DP135.
            StoreError: the whitelist or the state cannot be read.
        """
        self.check_whitelist(name, sha256)
        self.check_revoked(name, sha256, signed.release.store_name, signed)
        self.check_tier(name, tier)
