# SPDX-License-Identifier: Apache-2.0
"""README and guide stay in step with the program, and the check that says so notices when they do not."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def checker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_readme", _ROOT / "scripts" / "check_readme.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["check_readme"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


OUT_OF_STEP = {
    "a help text of another day": (
        "console",
        "$ depickle scan --help\nUsage: something else\n",
        "another text",
    ),
    "a command that does not exist": ("bash", "depickle frobnicate models\n", "no command frobnicate"),
    "an option that does not exist": ("bash", "depickle scan models --loudly\n", "no option --loudly"),
    "an option behind a line break": ("bash", "depickle scan models \\\n  --loudly\n", "no option --loudly"),
    "an entry point's option": ("bash", "python scripts/migrate_models_to_secure.py --loudly\n", "--loudly"),
    "a name that cannot be imported": (
        "python",
        "from depickle_runtime import Nonsense\n",
        "has no Nonsense",
    ),
    "an argument that is not taken": (
        "python",
        "from depickle_runtime import create_secure_ml_predictor\ncreate_secure_ml_predictor(colour=1)\n",
        "create_secure_ml_predictor",
    ),
    "a block that does not parse": ("python", "confidence, = = 1\n", "does not parse"),
}


@pytest.mark.parametrize(("language", "body", "fault"), OUT_OF_STEP.values(), ids=OUT_OF_STEP.keys())
def test_the_check_notices(checker, language, body, fault):
    found = [text for _, text in checker.faults(f"# Title\n\n```{language}\n{body}```\n")]
    assert len(found) == 1
    assert fault in found[0]


def test_the_check_names_the_line(checker):
    text = "# Title\n\n```bash\ndepickle scan models\ndepickle scan --loudly models\n```\n"
    assert [line for line, _ in checker.faults(text)] == [5]


def test_renewing_puts_the_help_text_in_step(checker):
    stale = "```console\n$ depickle keys new --help\nstale\n```\n"
    assert list(checker.faults(stale)) != []
    assert list(checker.faults(checker.renew_help(stale))) == []


@pytest.mark.parametrize("name", ["README.md", "docs/guide.md"])
def test_the_documents_are_in_step(checker, name):
    assert list(checker.faults((_ROOT / name).read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "name", ["README.md", "SECURITY.md", "CHANGELOG.md", "docs/guide.md", "docs/threat-model.md"]
)
def test_links_lead_somewhere(name):
    path = _ROOT / name
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8"))
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_the_guides_entry_points_answer_to_the_guides_flags():
    script = _ROOT / "scripts" / "migrate_models_to_secure.py"
    done = subprocess.run([sys.executable, str(script), "--help"], capture_output=True, text=True, check=True)
    assert "--models-dir" in done.stdout
    assert "--verify-only" in done.stdout
