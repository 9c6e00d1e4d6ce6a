# SPDX-License-Identifier: Apache-2.0
"""The models directory: files are read once without following links, and appear all at once or not at all.

Rules of reading:

* opened relative to a folder descriptor, no-follow, regular files only, of the signed size, read once
* readers take no lock: a published file is immutable and one rename moves the pointer

Rules of publishing, in order, under ``.metadata/.lock``:

1. the names to be written are noted in ``.metadata/.unfinished``
2. every new file is created under a name that did not exist, written and fsynced; then both folders are
3. the whitelist gains the new entries, and no other: one that an operator removed stays removed
4. one atomic rename puts the new ``release.json`` in place; its folder is fsynced; the note is removed

A crash before step 4 leaves orphans: the old release does not name them, `orphans` lists them, and the next
publishing run removes exactly those that the note names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec

from . import _strict_json
from ._files import BadFileError, Fault, exclusive, read_regular, replace, write_all
from .errors import NotAllowedError, StoreError

__all__ = [
    "MAX_ARTEFACT_BYTES",
    "RELEASE_NAME",
    "WHITELIST_NAME",
    "ModelStore",
    "NewArtefact",
    "Publication",
    "StoreWriter",
]

WHITELIST_NAME = "allowed_models.json"
RELEASE_NAME = ".metadata/release.json"
_METADATA = ".metadata"
_LOCK = ".lock"
_UNFINISHED = ".unfinished"
_LOCK_SECONDS = 30.0
MAX_ARTEFACT_BYTES = 2 * 1024 * 1024 * 1024
"""Protocol Buffers cap an ONNX message at 2 GiB."""
MAX_WHITELIST_BYTES = 32 * 1024 * 1024
MAX_NOTE_BYTES = 8 * 1024 * 1024
_STORE_NAME = re.compile(r"(\.metadata/)?[A-Za-z0-9_-][A-Za-z0-9._-]{0,159}")
_TEMPORARY = re.compile(r"\.(release\.json|allowed_models\.json|\.unfinished)\.[0-9a-f]{16}\.new")
"""What `_files.replace` writes before its rename; a killed run can leave one."""

Sha256 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
FileName = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_-][A-Za-z0-9._-]{0,159}\Z")]

_CODES = {
    Fault.ABSENT: ("DP137", "A file of the store is absent"),
    Fault.IRREGULAR: ("DP138", "A file of the store is not a regular file"),
    Fault.SIZE: ("DP139", "Model checksum mismatch: the size is not the signed one"),
    Fault.TOO_LARGE: ("DP143", "A file of the store is too large"),
    Fault.UNREADABLE: ("DP142", "A file of the store cannot be read"),
}


@dataclass(frozen=True, slots=True)
class NewArtefact:
    """One converted model on its way into the store."""

    stem: str
    symbol: str
    onnx: bytes
    skops: bytes | None
    metadata: Mapping[str, bytes]
    """Artefact name (``<stem>.onnx``, ``<stem>.skops``) to the bytes of its metadata file."""
    record: bytes
    """The conversion record, encoded."""
    make_current: bool = True
    """Whether it becomes the symbol's current model."""


@dataclass(frozen=True, slots=True)
class Publication:
    """Everything that one publishing run puts into the store."""

    envelope: bytes
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Store-relative name to content; none of them exists yet."""
    allow: Mapping[str, str] = field(default_factory=dict)
    """Whitelist entries to add: artefact name to SHA-256."""


def _bad(name: str, bad: BadFileError, *, size: int | None = None) -> StoreError:
    code, message = _CODES[bad.fault]
    return StoreError(
        message,
        code=code,
        found=bad.detail,
        expected="" if size is None else f"{size} bytes",
        where=name,
        next_step="restore the store from the publishing host, or publish again",
    )


class ModelStore:
    """A store on disk; holds no open file between calls.

    Args:
        models_dir: the folder. It may itself be a link, as deployments switch stores that way; nothing
            inside it may be one.
    """

    def __init__(self, models_dir: Path) -> None:
        self.models_dir = models_dir

    def read(self, name: str, *, size: int | None = None, max_size: int = MAX_ARTEFACT_BYTES) -> bytes:
        """Read a file of the store once.

        Args:
            name: store-relative name: ``NAME`` or ``.metadata/NAME``.
            size: the signed size, where known.
            max_size: cap on what is read.

        Raises:
            StoreError: DP137 absent, DP138 a link or no regular file, DP139 of another size, DP142 unreadable,
                DP143 too large, DP145 no name of the store.

        Returns:
            The bytes.
        """
        if not _STORE_NAME.fullmatch(name):
            raise StoreError(
                "A name is not one of the store",
                code="DP145",
                found=ascii(name)[:200],
                expected="letters, digits, dot, underscore, hyphen; no folder",
            )
        folder, _, base = name.rpartition("/")
        with self._folder(folder) as dir_fd:
            try:
                return read_regular(base, dir_fd=dir_fd, size=size, max_size=max_size)
            except BadFileError as bad:
                raise _bad(name, bad, size=size) from None

    def whitelist(self) -> dict[str, str]:
        """The operator's whitelist: artefact name to SHA-256.

        Raises:
            NotAllowedError: DP131, there is none; DP132, it is malformed.
            StoreError: DP138, DP142 or DP143, it cannot be read.
        """
        try:
            data = self.read(WHITELIST_NAME, max_size=MAX_WHITELIST_BYTES)
        except StoreError as fault:
            if fault.code != "DP137":
                raise
            raise NotAllowedError(
                "The whitelist is absent; no model is allowed",
                code="DP131",
                where=WHITELIST_NAME,
                next_step="depickle allow --propose FILE shows the entry of a model",
            ) from None
        return self._parse_whitelist(data)

    def files(self) -> tuple[str, ...]:
        """Names of the files in the store's own folder, sorted; neither folders nor hidden files.

        Raises:
            StoreError: DP137, DP138 or DP142, the folder cannot be read.
        """
        with self._folder("") as dir_fd:
            return tuple(_names(dir_fd))

    def orphans(self, pinned: Collection[str]) -> tuple[str, ...]:
        """Artefacts, metadata files and records that no release names.

        Args:
            pinned: the files of the release.

        Raises:
            StoreError: DP137, DP138 or DP142, a folder cannot be read.

        Returns:
            Store-relative names, sorted.
        """
        found = [name for name in self.files() if name.endswith((".onnx", ".skops"))]
        with self._folder(_METADATA) as dir_fd:
            found += [f"{_METADATA}/{name}" for name in _names(dir_fd) if name.endswith(".json")]
        return tuple(sorted(set(found) - set(pinned) - {RELEASE_NAME}))

    @contextmanager
    def writing(self, *, create: bool = False) -> Iterator[StoreWriter]:
        """Hold the store's lock for one publishing run.

        Args:
            create: make the store's folders where they do not exist.

        Raises:
            StoreError: DP853, another run holds the lock; DP852, the store cannot be written.

        Yields:
            The writer; valid inside the block only.
        """
        try:
            if create:
                (self.models_dir / _METADATA).mkdir(parents=True, exist_ok=True)
            with self._folder("") as root, self._folder(_METADATA) as metadata:
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                lock = os.open(_LOCK, flags, 0o644, dir_fd=metadata)
                try:
                    with exclusive(lock, seconds=_LOCK_SECONDS):
                        yield StoreWriter(self, root, metadata)
                finally:
                    os.close(lock)
        except TimeoutError:
            raise StoreError(
                "Another process is publishing to this store",
                code="DP853",
                where=f"{self.models_dir}/{_METADATA}/{_LOCK}",
                next_step="wait for it to end, then try again",
            ) from None
        except OSError as fault:
            raise StoreError(
                "The store cannot be written; the old release still stands",
                code="DP852",
                found=fault.strerror or type(fault).__name__,
                where=str(self.models_dir),
                next_step="make room, or make the folder writable, then try again",
            ) from None

    @contextmanager
    def _folder(self, folder: str) -> Iterator[int]:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        try:
            fd = os.open(self.models_dir, flags)
        except (OSError, ValueError) as fault:
            raise self._no_folder(fault, str(self.models_dir)) from None
        try:
            if folder:
                try:
                    inner = os.open(folder, flags | os.O_NOFOLLOW, dir_fd=fd)
                except OSError as fault:
                    raise self._no_folder(fault, folder) from None
                os.close(fd)
                fd = inner
            yield fd
        finally:
            os.close(fd)

    @staticmethod
    def _no_folder(fault: Exception, where: str) -> StoreError:
        if isinstance(fault, FileNotFoundError):
            return _bad(where, BadFileError(Fault.ABSENT, "no such folder"))
        if isinstance(fault, NotADirectoryError):
            return _bad(where, BadFileError(Fault.IRREGULAR, "no folder, or a link to one"))
        detail = fault.strerror if isinstance(fault, OSError) else None
        return _bad(where, BadFileError(Fault.UNREADABLE, detail or "an I/O error"))

    @staticmethod
    def _parse_whitelist(data: bytes) -> dict[str, str]:
        builtins = _strict_json.decode(
            data, max_bytes=MAX_WHITELIST_BYTES, where=WHITELIST_NAME, error=NotAllowedError, code="DP132"
        )
        try:
            return msgspec.convert(builtins, dict[FileName, Sha256], strict=True)
        except msgspec.ValidationError as fault:
            raise NotAllowedError(
                "The whitelist is malformed; no model is allowed",
                code="DP132",
                found=str(fault)[:200],
                expected='{"<file>": "<sha256>"}',
                where=WHITELIST_NAME,
                next_step="correct the file by hand; it is the operator's",
            ) from None


def _names(dir_fd: int) -> list[str]:
    try:
        with os.scandir(dir_fd) as entries:
            return sorted(
                entry.name
                for entry in entries
                if not entry.name.startswith(".") and not entry.is_dir(follow_symlinks=False)
            )
    except OSError as fault:
        raise _bad("models", BadFileError(Fault.UNREADABLE, fault.strerror or "an I/O error")) from None


class StoreWriter:
    """Writes into a store whose lock is held; built by `ModelStore.writing` only."""

    def __init__(self, store: ModelStore, root_fd: int, metadata_fd: int) -> None:
        self._store = store
        self._root = root_fd
        self._metadata = metadata_fd

    def clear_unfinished(self, pinned: Collection[str]) -> tuple[str, ...]:
        """Remove what a crashed run left behind: exactly the files of its note that no release names.

        Args:
            pinned: the files of the current, verified release; empty for a new store.

        Raises:
            StoreError: DP854, the note is damaged.
            OSError: a file cannot be removed; `ModelStore.writing` turns it into a `StoreError`.

        Returns:
            The names removed.
        """
        for folder_fd in (self._root, self._metadata):
            for leftover in os.listdir(folder_fd):
                if _TEMPORARY.fullmatch(leftover):
                    os.unlink(leftover, dir_fd=folder_fd)
        try:
            data = read_regular(_UNFINISHED, dir_fd=self._metadata, size=None, max_size=MAX_NOTE_BYTES)
        except BadFileError as bad:
            if bad.fault is Fault.ABSENT:
                return ()
            raise self._bad_note(bad.detail) from None
        names = _strict_json.decode(
            data, max_bytes=MAX_NOTE_BYTES, where=_UNFINISHED, error=StoreError, code="DP854"
        )
        if not isinstance(names, list) or not all(isinstance(n, str) and _publishable(n) for n in names):
            raise self._bad_note("names that publishing does not write")
        removed = []
        for name in sorted(set(names) - set(pinned)):
            folder, base = self._split(name)
            try:
                os.unlink(base, dir_fd=folder)
                removed.append(name)
            except FileNotFoundError:
                continue  # the crash came before this file
        os.fsync(self._root)
        os.unlink(_UNFINISHED, dir_fd=self._metadata)
        os.fsync(self._metadata)
        return tuple(removed)

    def publish(self, publication: Publication) -> None:
        """Put a publication into the store; readers see all of it or nothing.

        Args:
            publication: what to write.

        Raises:
            StoreError: DP850, a name exists or is none that publishing writes.
            NotAllowedError: DP132, the whitelist is malformed.
            OSError: the system refused; `ModelStore.writing` turns it into a `StoreError`.
        """
        for name in publication.files:
            if not _publishable(name):
                raise StoreError(
                    "A name is none that publishing writes", code="DP850", found=ascii(name)[:200]
                )
        self._refuse_existing(publication.files)
        if publication.files:
            note = _strict_json.canonical(sorted(publication.files))
            replace(_UNFINISHED, note, dir_fd=self._metadata)
            for name, data in publication.files.items():
                self._create(name, data)
            os.fsync(self._root)
            os.fsync(self._metadata)
        if publication.allow:
            self._allow(publication.allow)
        replace(RELEASE_NAME.rpartition("/")[2], publication.envelope, dir_fd=self._metadata)
        if publication.files:
            os.unlink(_UNFINISHED, dir_fd=self._metadata)
            os.fsync(self._metadata)

    def _refuse_existing(self, names: Collection[str]) -> None:
        for name in names:
            folder, base = self._split(name)
            try:
                os.stat(base, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                continue
            raise StoreError(
                "A file of that name exists; names are never written twice",
                code="DP850",
                where=name,
                next_step="publish under a new name; 'depickle verify' lists files that no release names",
            )

    def _create(self, name: str, data: bytes) -> None:
        folder, base = self._split(name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(base, flags, 0o644, dir_fd=folder)
        try:
            write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)

    def _allow(self, entries: Mapping[str, str]) -> None:
        try:
            allowed = self._store.whitelist()
        except NotAllowedError as fault:
            if fault.code != "DP131":
                raise
            allowed = {}
        text = msgspec.json.format(_strict_json.canonical({**allowed, **entries}), indent=2) + b"\n"
        replace(WHITELIST_NAME, text, dir_fd=self._root)

    def _split(self, name: str) -> tuple[int, str]:
        folder, _, base = name.rpartition("/")
        return (self._metadata if folder else self._root), base

    @staticmethod
    def _bad_note(found: str) -> StoreError:
        return StoreError(
            "The note of an unfinished publishing run is damaged",
            code="DP854",
            found=found,
            where=f"{_METADATA}/{_UNFINISHED}",
            next_step="'depickle verify' lists files that no release names; remove them and the note by hand",
        )


def _publishable(name: str) -> bool:
    if not _STORE_NAME.fullmatch(name) or name == RELEASE_NAME:
        return False
    return name.endswith(".json") if name.startswith(".metadata/") else name.endswith((".onnx", ".skops"))
