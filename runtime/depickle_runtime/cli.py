# SPDX-License-Identifier: Apache-2.0
"""``python -m depickle_runtime verify|info``: what a host without the converter can say about a store.

The answer goes to stdout, talk to stderr. Exit codes: 0 verified, 1 the tool failed, 2 usage, 3 nothing to do,
12 verification failed; the same whatever the format.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import AuditError, ConfigurationError, SecurityError
from .loader import SecureModelLoader
from .settings import read_settings

__all__ = ["EXIT_FAILED", "EXIT_NOTHING", "EXIT_OK", "EXIT_REFUSED", "EXIT_USAGE", "main"]

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_NOTHING, EXIT_REFUSED = 0, 1, 2, 3, 12
SCHEMA_VERSION = 1
_DEPENDENCIES = (
    "depickle-runtime",
    "numpy",
    "onnxruntime",
    "cryptography",
    "securesystemslib",
    "msgspec",
    "TA-Lib",
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="depickle-runtime", description="Verify a store of signed models, or show what is in it."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="verify|info")
    for name, summary in (
        ("verify", "check everything that the runtime checks before it loads a model"),
        ("info", "show the release, its models and the versions of this host"),
    ):
        command = commands.add_parser(name, help=summary, description=summary)
        command.add_argument(
            "--models-dir", type=Path, help="the store (default: ML_MODELS_DIR, else models)"
        )
        command.add_argument("--trust-policy", type=Path, help="policy file (default: ML_TRUST_POLICY)")
        command.add_argument(
            "--state-dir", type=Path, help="what this host remembers (default: ML_STATE_DIR)"
        )
        command.add_argument("--audit-log", type=Path, help="audit log file (default: ML_AUDIT_LOG)")
        command.add_argument("--format", choices=("text", "json"), default="text", help="form of the answer")
        command.add_argument("--quiet", "-q", action="store_true", help="no talk on stderr")
        if name == "verify":
            command.add_argument("files", nargs="*", metavar="FILE", help="files to check (default: all)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments; the process's where None.

    Returns:
        The exit code.
    """
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as leave:  # argparse has printed help, or the error
        return leave.code if isinstance(leave.code, int) else EXIT_USAGE
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.CRITICAL if arguments.quiet else logging.WARNING,
        format="%(levelname)s: %(message)s",
    )
    try:
        models_dir = arguments.models_dir or read_settings(os.environ).models_dir
        loader = SecureModelLoader(
            models_dir,
            trust_policy=arguments.trust_policy,
            state_dir=arguments.state_dir,
            audit_log=arguments.audit_log,
        )
        run = _verify if arguments.command == "verify" else _info
        return run(loader, arguments)
    except ConfigurationError as fault:
        return _failed(fault, EXIT_USAGE, arguments)
    except AuditError as fault:
        return _failed(fault, EXIT_FAILED, arguments)
    except SecurityError as fault:
        return _failed(fault, EXIT_REFUSED, arguments)
    except BrokenPipeError:
        # The reader of our answer has gone; Python would complain once more while it shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED


def _failed(fault: SecurityError, code: int, arguments: argparse.Namespace) -> int:
    sys.stderr.write(fault.diagnostics() + "\n")
    if arguments.format == "json":
        error = {"code": fault.code, "message": str(fault)}
        _print_json({"schema_version": SCHEMA_VERSION, "valid": False, "files": [], "errors": [error]})
    return code


def _print_json(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def _verify(loader: SecureModelLoader, arguments: argparse.Namespace) -> int:
    if arguments.files:
        results = {str(path): loader.verify_model(path) for path in arguments.files}
    else:
        loader.open_release()  # a store whose release fails is refused even where it holds no file
        results = loader.verify_store()
    orphans = [] if arguments.files else list(loader.orphans())
    valid = all(result["valid"] for result in results.values())
    if arguments.format == "json":
        _print_json(
            {
                "schema_version": SCHEMA_VERSION,
                "valid": valid,
                "files": list(results.values()),
                "orphans": orphans,
                "errors": [],
            }
        )
    else:
        for name, result in results.items():
            sys.stdout.write(f"{'ok      ' if result['valid'] else 'REFUSED '} {_plain(name)}\n")
            for error in result["errors"]:
                sys.stdout.write(f"          {error['code']}: {_plain(error['message'])}\n")
        for name in orphans:
            sys.stdout.write(f"orphan   {_plain(name)}\n")
        good = sum(bool(result["valid"]) for result in results.values())
        sys.stdout.write(f"{good} of {len(results)} files verified\n")
    if not results:
        return EXIT_NOTHING
    return EXIT_OK if valid else EXIT_REFUSED


def _info(loader: SecureModelLoader, arguments: argparse.Namespace) -> int:
    signed = loader.open_release()
    models = loader.list_models()
    release = signed.release
    versions = {name: _version(name) for name in _DEPENDENCIES}
    answer: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "versions": versions,
        "store_name": release.store_name,
        "serial": release.serial,
        "issued": release.issued,
        "expires": release.expires,
        "signers": list(signed.signers),
        "warnings": list(signed.warnings),
        "current": dict(release.current),
        "revocations": len(release.revocations),
        "models": models,
    }
    if arguments.format == "json":
        _print_json(answer)
    else:
        sys.stdout.write(
            f"store {release.store_name}, serial {release.serial}, issued {release.issued},"
            f" expires {release.expires}, signed by {_plain(', '.join(signed.signers)) or 'nobody'}\n"
        )
        for model in models:
            state = model["error"]["message"] if "error" in model else f"{model['symbol']}, {model['tier']}"
            mark = "*" if model["current"] else " "
            sys.stdout.write(f"{mark} {model['file']}  {_plain(state)}\n")
        sys.stdout.write(", ".join(f"{name} {version}" for name, version in versions.items()) + "\n")
    return EXIT_OK if models else EXIT_NOTHING


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else f"\\u{{{ord(c):x}}}" for c in text)
