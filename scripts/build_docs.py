# SPDX-License-Identifier: Apache-2.0
"""Joins docs/errors/*.md and docs/rules/*.md into the two pages that errors, findings and `depickle explain` name.

``python scripts/build_docs.py`` writes the pages; ``--check`` says whether they are in step, whether a code has two
sections, and whether a code that the sources raise has none.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_SECTION = re.compile(r"^## (DP\d{3})\b", re.MULTILINE)
_RAISED = re.compile(r"""["'](DP\d{3})["']""")
_PAGES = {
    "errors": (
        "Error codes",
        "Every refusal carries a code. Each section says what was found and what to do; `depickle explain CODE`\n"
        "prints it. Rules of the pickle gate are in [rules.md](rules.md).",
    ),
    "rules": (
        "Rules of the gates for legacy files",
        "One section per rule; `depickle explain RULE` prints it. Other codes are in [errors.md](errors.md).",
    ),
}
_NOTE = "<!-- Joined by scripts/build_docs.py from the files in docs/{folder}/; change those. -->"


def page(folder: str) -> str:
    """The joined page, its parts in the order of their lowest code, headings one level down where needed."""
    title, introduction = _PAGES[folder]
    parts = []
    for path in (_ROOT / "docs" / folder).glob("*.md"):
        text = path.read_text(encoding="utf-8").strip()
        codes = _SECTION.findall(text)
        text = text.replace("](../", "](")
        parts.append((min(codes, default="DP999"), path.name, text))
    body = "\n\n".join(text for _, _, text in sorted(parts))
    return f"# {title}\n\n{_NOTE.format(folder=folder)}\n\n{introduction}\n\n{body}\n"


def faults(pages: dict[str, str]) -> list[str]:
    """What is wrong with the pages: a code with two sections, or a raised code with none."""
    documented = [code for text in pages.values() for code in _SECTION.findall(text)]
    found = [
        f"{code} has two sections" for code in sorted({c for c in documented if documented.count(c) > 1})
    ]
    raised: dict[str, str] = {}
    for package in ("runtime/depickle_runtime", "converter/depickle"):
        for path in sorted((_ROOT / package).rglob("*.py")):
            for code in _RAISED.findall(path.read_text(encoding="utf-8")):
                raised.setdefault(code, str(path.relative_to(_ROOT)))
    found += [
        f"{code} has no section ({where})" for code, where in sorted(raised.items()) if code not in documented
    ]
    return found


def main() -> int:
    """Writes or checks the pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 where something is out of step"
    )
    arguments = parser.parse_args()
    pages = {folder: page(folder) for folder in _PAGES}
    trouble = faults(pages)
    for folder, text in pages.items():
        target = _ROOT / "docs" / f"{folder}.md"
        if not arguments.check:
            target.write_text(text, encoding="utf-8")
        elif not target.is_file() or target.read_text(encoding="utf-8") != text:
            trouble.append(f"docs/{folder}.md is out of step: python scripts/build_docs.py")
    for line in trouble:
        print(line, file=sys.stderr)
    return 1 if trouble else 0


if __name__ == "__main__":
    raise SystemExit(main())
