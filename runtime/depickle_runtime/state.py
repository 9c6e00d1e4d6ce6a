# SPDX-License-Identifier: Apache-2.0
"""What this host remembers of a store: the highest release seen, and every revocation ever seen.

Rules:

* lives outside the store, one file per store name, replaced atomically under a lock
* the floor only rises; one serial has one payload
* revocations only gather: a later release that leaves one out does not take it back
* a state file that is damaged stops loading; it is never taken for a first use
* a first use is logged loudly
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from . import _strict_json
from ._files import BadFileError, Fault, exclusive, read_regular, replace
from .errors import ConfigurationError, RollbackError, StoreError
from .release import Floor, SignedRelease
from .trust import Serial, StoreName

__all__ = ["StoreState", "TrustState"]

_logger = logging.getLogger(__name__)

MAX_STATE_BYTES = 64 * 1024 * 1024
_LOCK_SECONDS = 10.0

Sha256 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class _Floor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    serial: Serial
    payload_sha256: Sha256


class StoreState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Memory of one store."""

    schema_version: Literal[1]
    store_name: StoreName
    floor: _Floor | None
    revoked: dict[Sha256, str]
    """Digest to reason: the union over every release seen."""
    updated: str


class TrustState:
    """The state folder.

    Args:
        state_dir: the folder; made, readable by its owner alone, when something is first remembered.
        models_dir: the store, which the folder must not be inside of.

    Raises:
        ConfigurationError: DP912, the folder is inside the store: whoever replaces the store would replace
            the memory with it.
    """

    def __init__(self, state_dir: Path, *, models_dir: Path) -> None:
        self.state_dir = state_dir
        try:
            inside = state_dir.resolve().is_relative_to(models_dir.resolve())
        except (OSError, RuntimeError, ValueError):
            inside = True
        if inside:
            raise ConfigurationError(
                "The state folder must not be inside the store",
                code="DP912",
                where=str(state_dir),
                next_step="set ML_STATE_DIR to a folder elsewhere",
            )

    def read(self, store_name: str) -> StoreState | None:
        """The memory of a store, or None on first use.

        Raises:
            StoreError: DP150, the state file is damaged; DP151, it cannot be read.
        """
        with self._folder(create=False) as dir_fd:
            return None if dir_fd is None else self._read(store_name, dir_fd)

    def floor(self, store_name: str) -> Floor | None:
        """The highest release seen, or None.

        Raises:
            StoreError: as `read`.
        """
        state = self.read(store_name)
        return None if state is None else _floor(state)

    def remember_revocations(self, signed: SignedRelease, *, now: datetime) -> None:
        """Add the revocations of a verified release to the memory, without raising the floor.

        Raises:
            StoreError: DP150, DP151.
        """
        if not signed.release.revocations:
            return
        known = self.read(signed.release.store_name)
        if known is None or any(item.sha256 not in known.revoked for item in signed.release.revocations):
            self._update(signed, lambda state: _merge(state, signed, floor=_entry(state), now=now))

    def raise_floor(self, signed: SignedRelease, *, now: datetime) -> None:
        """Remember a release after a model of it has loaded.

        Args:
            signed: the release.
            now: the time.

        Raises:
            RollbackError: DP108 or DP109, another process has meanwhile seen a later release, or another one
                of this serial.
            StoreError: DP150, DP151.
        """
        wanted = _Floor(serial=signed.release.serial, payload_sha256=signed.payload_sha256)
        known = self.read(signed.release.store_name)
        if known is not None and known.floor == wanted:
            return  # revocations of this very payload were remembered with it

        def step(state: StoreState | None) -> StoreState:
            before = _entry(state)
            if before is None:
                _logger.warning(
                    "First use of the store %s on this host: taking serial %d for its floor",
                    signed.release.store_name,
                    wanted.serial,
                )
            elif before.serial > wanted.serial:
                raise _rollback("DP108", "The release is older than one already seen", wanted, before)
            elif before.serial == wanted.serial and before != wanted:
                raise _rollback("DP109", "Two different releases have one serial", wanted, before)
            return _merge(state, signed, floor=wanted, now=now)

        self._update(signed, step)

    def _update(self, signed: SignedRelease, step: Callable[[StoreState | None], StoreState]) -> None:
        name = signed.release.store_name
        try:
            with self._folder(create=True) as dir_fd:
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                lock = os.open(f".{name}.lock", flags, 0o600, dir_fd=dir_fd)
                try:
                    with exclusive(lock, seconds=_LOCK_SECONDS):
                        state = step(self._read(name, self._open(dir_fd)))
                        data = _strict_json.canonical(msgspec.to_builtins(state)) + b"\n"
                        replace(f"{name}.json", data, dir_fd=self._open(dir_fd), mode=0o600)
                finally:
                    os.close(lock)
        except OSError as fault:
            raise self._unusable(fault) from None

    @staticmethod
    def _open(dir_fd: int | None) -> int:
        if dir_fd is None:
            raise FileNotFoundError(2, "no such folder")
        return dir_fd

    @contextmanager
    def _folder(self, *, create: bool) -> Iterator[int | None]:
        try:
            if create:
                self.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            dir_fd = os.open(self.state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            yield None
            return
        except OSError as fault:
            raise self._unusable(fault) from None
        try:
            yield dir_fd
        finally:
            os.close(dir_fd)

    def _read(self, store_name: str, dir_fd: int) -> StoreState | None:
        name = f"{store_name}.json"
        where = str(self.state_dir / name)
        advice = (
            "restore the state folder from a backup; delete the file only after checking the store's serial"
        )
        try:
            data = read_regular(name, dir_fd=dir_fd, size=None, max_size=MAX_STATE_BYTES)
        except BadFileError as bad:
            if bad.fault is Fault.ABSENT:
                return None
            raise StoreError(
                "The runtime's state cannot be read", code="DP151", found=bad.detail, where=where
            ) from None
        state = _strict_json.decode_as(
            StoreState,
            data,
            max_bytes=MAX_STATE_BYTES,
            where=where,
            error=StoreError,
            code="DP150",
            next_step=advice,
        )
        if state.store_name != store_name:
            raise StoreError(
                "The runtime's state is that of another store",
                code="DP150",
                found=state.store_name,
                expected=store_name,
                where=where,
                next_step=advice,
            )
        return state

    def _unusable(self, fault: OSError) -> StoreError:
        return StoreError(
            "The runtime's state cannot be read or written",
            code="DP151",
            found=fault.strerror or type(fault).__name__,
            where=str(self.state_dir),
            next_step="make the folder writable for this user, or set ML_STATE_DIR",
        )


def _entry(state: StoreState | None) -> _Floor | None:
    return None if state is None else state.floor


def _floor(state: StoreState) -> Floor | None:
    entry = state.floor
    return None if entry is None else Floor(serial=entry.serial, payload_sha256=entry.payload_sha256)


def _merge(
    state: StoreState | None, signed: SignedRelease, *, floor: _Floor | None, now: datetime
) -> StoreState:
    revoked = {item.sha256: item.reason for item in signed.release.revocations}
    return StoreState(
        schema_version=1,
        store_name=signed.release.store_name,
        floor=floor,
        revoked={**revoked, **({} if state is None else state.revoked)},
        updated=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def _rollback(code: str, message: str, wanted: _Floor, before: _Floor) -> RollbackError:
    return RollbackError(
        message,
        code=code,
        found=f"serial {wanted.serial} with payload {wanted.payload_sha256[:16]}…",
        expected=f"serial {before.serial} with payload {before.payload_sha256[:16]}…, or a later one",
        where="release.json",
        next_step="deploy the current store",
    )
