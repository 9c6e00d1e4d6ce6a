# SPDX-License-Identifier: Apache-2.0
"""Makes signing keys and the trust policies that believe them.

* the private key is new, in a file of mode 0600 that did not exist before
* its public half is added to a policy file, which is replaced atomically; no existing key is changed
* nothing is generated over an existing owner's key: a second key of one owner counts once anyway
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from filelock import FileLock, Timeout

from depickle_runtime._files import replace, write_all
from depickle_runtime.errors import ConfigurationError
from depickle_runtime.trust import (
    KeyEntry,
    Scheme,
    TrustPolicy,
    encode_policy,
    load_keys,
    parse_policy,
    read_policy,
)

__all__ = ["ListedKey", "NewKey", "config_dir", "list_keys", "new_key"]

_OWNER_FILE = re.compile(r"[^A-Za-z0-9._-]+")
_LOCK_SECONDS = 10


@dataclass(frozen=True, slots=True)
class NewKey:
    """Where a new key went."""

    owner: str
    keyid: str
    scheme: Scheme
    private_path: Path
    policy_path: Path


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A key of a policy."""

    owner: str
    keyid: str
    scheme: Scheme
    valid_from: str | None
    valid_until: str | None
    valid_now: bool


def config_dir(environ: Mapping[str, str] | None = None) -> Path:
    """The user's configuration folder: `$XDG_CONFIG_HOME/depickle`, else `~/.config/depickle`.

    Raises:
        ConfigurationError: DP917, the process has no home folder.
    """
    variables = os.environ if environ is None else environ
    base = variables.get("XDG_CONFIG_HOME", "")
    if base and Path(base).is_absolute():  # the XDG specification: relative paths are to be ignored
        return Path(base) / "depickle"
    try:
        return Path.home() / ".config" / "depickle"
    except RuntimeError:
        raise ConfigurationError(
            "There is no configuration folder",
            code="DP917",
            next_step="name the files with --key and --policy",
        ) from None


def new_key(
    owner: str,
    *,
    private_path: Path | None = None,
    policy_path: Path | None = None,
    store_name: str = "models",
    scheme: Scheme = "ecdsa-sha2-nistp256",
    environ: Mapping[str, str] | None = None,
) -> NewKey:
    """Make a signing key and add its public half to a policy.

    Args:
        owner: who holds the key.
        private_path: where the private key goes; ``<owner>.pem`` in the configuration folder where None.
        policy_path: the policy; ``trust-policy.json`` in the configuration folder where None. A new one has
            threshold 1.
        store_name: name of the store, for a new policy; an existing policy keeps its own.
        scheme: ECDSA P-256, which other people's tools take, or Ed25519.
        environ: the environment; the process's where None.

    Raises:
        ConfigurationError: DP917, an argument or a file name cannot be used, or the key file exists; DP905 to
            DP909, the policy cannot be used; DP918, a file cannot be written.

    Returns:
        Where the key went.
    """
    file_name = _OWNER_FILE.sub("-", owner).strip(".-")
    if not file_name or not owner.isprintable():
        raise ConfigurationError(
            "The owner is no name",
            code="DP917",
            found=ascii(owner)[:80],
            expected="letters and digits",
            where="--owner",
        )
    private_path = config_dir(environ) / f"{file_name}.pem" if private_path is None else private_path
    policy_path = config_dir(environ) / "trust-policy.json" if policy_path is None else policy_path
    private = (
        ec.generate_private_key(ec.SECP256R1())
        if scheme == "ecdsa-sha2-nistp256"
        else ed25519.Ed25519PrivateKey.generate()
    )
    public = (
        private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")
    )
    entry = KeyEntry(owner=owner, scheme=scheme, public=public)
    try:
        for path in (private_path, policy_path):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(f"{policy_path}.lock", timeout=_LOCK_SECONDS):
            policy = _with_key(entry, policy_path, store_name)
            keyid = next(
                key.keyid for key in load_keys(policy) if key.owner == owner and _is(key.keyid, entry)
            )
            _write_private(
                private_path, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            )
            folder = os.open(policy_path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                replace(policy_path.name, encode_policy(policy), dir_fd=folder)
            finally:
                os.close(folder)
    except Timeout:
        raise ConfigurationError(
            "Another process is changing the policy", code="DP918", where=str(policy_path)
        ) from None
    except OSError as fault:
        raise ConfigurationError(
            "A key or policy file cannot be written",
            code="DP918",
            found=fault.strerror or type(fault).__name__,
            where=str(fault.filename or private_path),
            next_step="make the folder writable, or name other files with --key and --policy",
        ) from None
    return NewKey(owner=owner, keyid=keyid, scheme=scheme, private_path=private_path, policy_path=policy_path)


def list_keys(policy_path: Path, *, now: datetime | None = None) -> tuple[ListedKey, ...]:
    """The keys of a policy.

    Args:
        policy_path: the policy.
        now: the time; the clock's where None.

    Raises:
        ConfigurationError: DP904 to DP909, the policy cannot be used.

    Returns:
        The keys, in the policy's order.
    """
    moment = datetime.now(UTC) if now is None else now
    policy = read_policy(policy_path)
    return tuple(
        ListedKey(
            owner=key.owner,
            keyid=key.keyid,
            scheme=key.scheme,
            valid_from=entry.valid_from,
            valid_until=entry.valid_until,
            valid_now=key.valid_at(moment),
        )
        for key, entry in zip(load_keys(policy), policy.keys, strict=True)
    )


def _is(keyid: str, entry: KeyEntry) -> bool:
    probe = TrustPolicy(schema_version=1, store_name="models", threshold=1, keys=[entry])
    return load_keys(probe)[0].keyid == keyid


def _with_key(entry: KeyEntry, policy_path: Path, store_name: str) -> TrustPolicy:
    if policy_path.exists():
        old = read_policy(policy_path)
        policy = msgspec.structs.replace(old, keys=[*old.keys, entry])
    else:
        policy = TrustPolicy(schema_version=1, store_name=store_name, threshold=1, keys=[entry])
    # What is written must be what a runtime will accept.
    return parse_policy(encode_policy(policy), where=str(policy_path))


def _write_private(path: Path, data: bytes) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise ConfigurationError(
            "A key file of that name exists; it is never overwritten",
            code="DP917",
            where=str(path),
            next_step="name another file with --key, or move the old key away",
        ) from None
    try:
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
