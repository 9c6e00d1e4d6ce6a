# SPDX-License-Identifier: Apache-2.0
"""Prints how the model texts of LightGBM's releases differ: the settings they list and the state that is pickled.

Run by hand with one interpreter for each release, ``python scripts/lightgbm_releases.py INTERPRETER...``; the
interpreters of ``depickle env add`` will do. What it prints is the table of
``converter/depickle/pickles/lightgbm_release.py``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise

_PROGRAM = """
import json, sys, warnings
warnings.simplefilter("ignore")
import lightgbm, numpy
rows = numpy.random.default_rng(0).normal(size=(300, 4))
answers = {}
for kind in ("gbdt", "rf", "dart"):
    for target in ((rows[:, 0] > 0).astype(int), numpy.digitize(rows[:, 0], [-0.5, 0.5])):
        options = {"bagging_freq": 1, "bagging_fraction": 0.5} if kind == "rf" else {}
        model = lightgbm.LGBMClassifier(n_estimators=2, boosting_type=kind, verbose=-1, n_jobs=1, **options)
        model.fit(rows, target)
        text = model.booster_.model_to_string()
        section = text.partition("\\nparameters:")[2].partition("\\nend of parameters")[0]
        names = [line[1:].partition(":")[0] for line in section.split("\\n") if line]
        answers[json.dumps(names)] = names
assert len(answers) == 1, "the settings depend on the model"
(names,) = answers.values()
json.dump({
    "release": lightgbm.__version__,
    "format": text.split("\\n")[1],
    "settings": names,
    "state": sorted(vars(model)),
    "decision_function": hasattr(model, "decision_function"),
}, sys.stdout)
"""


def main(interpreters: list[str]) -> int:
    """One line for each interpreter: release, format, number of settings, and what is new since the one before."""
    if not interpreters:
        sys.stderr.write("usage: lightgbm_releases.py INTERPRETER...\n")
        return 2
    found = []
    for interpreter in interpreters:
        done = subprocess.run([interpreter, "-c", _PROGRAM], check=True, capture_output=True, text=True)
        found.append(json.loads(done.stdout))
    found.sort(key=lambda item: [int(part) for part in item["release"].split(".")[:3]])
    for before, item in pairwise(
        [{"settings": item["settings"], "state": item["state"]} for item in found[:1]] + found
    ):
        new, gone = (
            sorted(set(left["settings"]) - set(right["settings"]))
            for left, right in ((item, before), (before, item))
        )
        state = sorted(set(item["state"]) - set(before["state"]))
        sys.stdout.write(
            f"{item['release']} {item['format']}: {len(item['settings'])} settings, new {new}, gone {gone}, "
            f"new in the estimator {state}, decision_function {item['decision_function']}\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
