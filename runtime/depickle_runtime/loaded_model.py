# SPDX-License-Identifier: Apache-2.0
"""A verified model that answers rows as the original's `predict` and `predict_proba` did."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import ModelContractError
from .metadata import Metadata
from .record import ConversionRecord
from .session import Answers, OnnxSession
from .verification import VerifiedModel

__all__ = ["LoadedModel"]


class LoadedModel:
    """A verified model with its open session.

    Attributes:
        verified: what was verified, digests and signers included.
        session: the open session.
    """

    def __init__(self, verified: VerifiedModel, session: OnnxSession) -> None:
        """Use `SecureModelLoader.load_model`."""
        self.verified = verified
        self.session = session
        classes = verified.record.classes
        self._classes = None if classes is None else _class_array(classes)

    @property
    def record(self) -> ConversionRecord:
        """How the model came to be and how to call it."""
        return self.verified.record

    @property
    def metadata(self) -> Metadata:
        """The guide's metadata."""
        return self.verified.metadata

    def run(self, X: npt.ArrayLike) -> Answers:
        """Every output for a batch of rows; see `OnnxSession.run`."""
        return self.session.run(X)

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        """What the original's `predict` gives: labels of a classifier or outlier detector, values of a regressor.

        It answers every row. Where the original's own answer hangs on rounding, this one may be another: ask
        `certified`.

        Args:
            X: [N, F] numbers.

        Raises:
            ModelContractError: the rows do not fit (DP221 to DP223), or the model has no such answer (DP226).
            FeatureError: the original refuses such values.

        Returns:
            [N].
        """
        answers = self.session.run(X)
        if self._classes is not None and answers.class_index is not None:
            index = answers.class_index.reshape(-1)
            if index.size and (int(index.min()) < 0 or int(index.max()) >= len(self._classes)):
                raise ModelContractError(
                    "The model answered a class that its record does not have",
                    code="DP226",
                    where=self.verified.name,
                )
            return np.asarray(self._classes[index])
        if self.record.task == "regressor" and answers.scores is not None:
            return answers.scores[:, 0]
        raise ModelContractError(
            "The model has no label and no value to predict", code="DP226", where=self.verified.name
        )

    def certified(self, X: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """The rows whose answer the model vouches for; the predictor abstains on the others.

        A label counts where `margin` exceeds `bound`. A number counts where `bound`, which says how far it may be
        from the original's, is finite. All rows count of a model without these outputs, and none of a sampled one.

        Raises:
            ModelContractError: the rows do not fit (DP221 to DP223).
            FeatureError: the original refuses such values.

        Returns:
            [N].
        """
        answers = self.session.run(X)
        margin, bound = answers.margin, answers.bound
        if self.record.tier == "sampled":
            return np.zeros(len(np.asarray(X)), dtype=np.bool_)
        if bound is None:
            return np.ones(len(np.asarray(X)), dtype=np.bool_)
        if margin is None:
            return np.isfinite(bound)
        return np.asarray(margin > bound, dtype=np.bool_)

    def predict_proba(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        """Probabilities [N, C] in the order of `record.classes`.

        Raises:
            ModelContractError: as `predict`; DP226, the original has no `predict_proba`.
            FeatureError: the original refuses such values.
        """
        probabilities = self.session.run(X).probabilities
        if probabilities is None:
            raise ModelContractError(
                "The model gives no probabilities", code="DP226", where=self.verified.name
            )
        return probabilities


def _class_array(classes: list[int | float | str | bool]) -> npt.NDArray[Any]:
    return np.array(classes) if len({type(c) for c in classes}) == 1 else np.array(classes, dtype=object)
