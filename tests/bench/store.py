# SPDX-License-Identifier: Apache-2.0
"""The store that the benchmarks run on: the honest part of the estate, migrated afresh."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from depickle_runtime import SecureModelLoader
from depickle_runtime.loader import LoadedModel
from examples.journey import ROOT, Journey
from examples.legacy_estate.build import FILES
from examples.legacy_estate.cache import cached_estate, estate_manifest

__all__ = ["BenchStore"]


class BenchStore:
    """A freshly migrated store below ``.build/bench``."""

    def __init__(self) -> None:
        self.journey = Journey(ROOT / ".build" / "bench", owner="DEMO bench", show=False)
        shutil.rmtree(self.journey.folder, ignore_errors=True)
        self.journey.models.mkdir(parents=True)
        estate = cached_estate()
        for entry in estate_manifest(estate):
            if entry["kind"] == "honest":
                shutil.copy(estate / FILES / entry["file"], self.journey.models)
        self.journey.new_keys()
        rows, _ = self.journey.reference_rows()
        self.journey.migrate(rows)
        os.environ |= {key: value for key, value in self.journey.environment.items() if key.startswith("ML_")}
        self.loader = SecureModelLoader(self.journey.models)
        self._names = {self._source_of(path): path.name for path in self.journey.models.glob("*.onnx")}

    def path_of(self, legacy_name: str) -> Path:
        """The ONNX file that a legacy file became."""
        return self.journey.models / self._names[legacy_name]

    def load(self, legacy_name: str) -> LoadedModel:
        """The verified model that a legacy file became."""
        return self.loader.load_model(self._names[legacy_name])

    def _source_of(self, path: Path) -> str:
        return self.loader.load_model(path.name).record.source.name
