# SPDX-License-Identifier: Apache-2.0
"""`depickle inspect`: what a model file holds, read as data; safe on hostile files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import click
import msgspec

from depickle_runtime.errors import SecurityError
from depickle_runtime.onnx_gate import check_onnx

from ..errors import GateRefusedError
from ..pickles import vet
from ..reports.encoding import as_json as to_json
from ..reports.escape import escape
from ..reports.inspect import Json, as_json, as_text, tree_of
from ..reports.scan import FileReport
from ..reports.scan import as_text as scan_as_text
from ..sources import path_as_text, read_source
from ._common import (
    Exit,
    check_output,
    finish,
    format_option,
    output_option,
    refusals_to_exit_codes,
    write_answer,
)
from .scan import scan_file

__all__ = ["command"]

SCHEMA_VERSION = 1


@click.command("inspect")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@format_option("text", "json")
@output_option
@refusals_to_exit_codes
def command(file: Path, output_format: str, output: Path | None) -> None:
    """Show what FILE holds without loading it: a .pkl, a .joblib or an .onnx file.

    The verdict comes first. A legacy file is then shown as a tree of classes, hyperparameters and arrays with the
    byte offset of each, as far as the gate let it be read; an ONNX file by its inputs, outputs and trees. Exits 0
    if the file is accepted, 10 if a gate refuses it.
    """
    check_output(output)
    answer, accepted = _inspect_onnx(file) if file.suffix == ".onnx" else _inspect_legacy(file)
    if output_format == "json":
        write_answer(msgspec.json.format(to_json(answer["json"])).decode(), output)
    else:
        write_answer(str(answer["text"]), output)
    finish(Exit.OK if accepted else Exit.GATE_REFUSED)


def _inspect_legacy(file: Path) -> tuple[dict[str, Json], bool]:
    report = scan_file(file)
    text = scan_as_text([report]).splitlines()
    found = _report_json(report)
    try:
        vetted = vet(read_source(file).data, where=file.name)
    except GateRefusedError:
        return {"text": "\n".join(text), "json": found}, False
    tree = tree_of(vetted.root, "file")
    found["tree"] = as_json(tree)
    text = [text[-1], f"SHA-256 {report.sha256}", "", *as_text(tree), "", *text[:-1]]
    return {"text": "\n".join(text), "json": found}, True


def _report_json(report: FileReport) -> dict[str, Json]:
    return {
        "schema_version": SCHEMA_VERSION,
        "path": report.path,
        "sha256": report.sha256,
        "verdict": str(report.verdict),
        "container": report.container,
        "writer": dict(report.writer),
        "findings": msgspec.to_builtins(report.findings),
    }


def _inspect_onnx(file: Path) -> tuple[dict[str, Json], bool]:
    data = read_source(file).data
    digest = hashlib.sha256(data).hexdigest()
    found: dict[str, Json] = {"schema_version": SCHEMA_VERSION, "path": path_as_text(file), "sha256": digest}
    try:
        vetted = check_onnx(data)
    except SecurityError as error:
        found |= {"verdict": "refused", "findings": [{"rule": error.code, "message": str(error)}]}
        lines = [f"refused  {escape(path_as_text(file))}", *map(escape, error.diagnostics().splitlines())]
        return {"text": "\n".join(lines), "json": found}, False
    found |= {
        "verdict": "accepted",
        "inputs": [str(value) for value in vetted.inputs],
        "outputs": [str(value) for value in vetted.outputs],
        "trees": str(vetted.trees),
    }
    lines = [f"accepted  {escape(path_as_text(file))}", f"SHA-256 {digest}", ""]
    lines += [f"input   {value}" for value in vetted.inputs]
    lines += [f"output  {value}" for value in vetted.outputs]
    lines.append(f"trees   {vetted.trees}")
    return {"text": "\n".join(lines), "json": found}, True
