# SPDX-License-Identifier: Apache-2.0
"""Which validator looks at which record; one batch for all node graphs of a file."""

from __future__ import annotations

from collections.abc import Iterable

from ..graph import Record
from .boosters import check_lightgbm, check_xgboost
from .curves import check_numbers, check_spline
from .forests import NodeGraph, check_node_graphs
from .indexes import check_multi_index
from .matrices import check_lengths, check_linear, check_sparse, check_support_vectors
from .neighbours import check_space_tree
from .sklearn_trees import check_boosting, check_forest, tree_graph

__all__ = ["check_structure"]

_SVM = frozenset({"SVC", "NuSVC", "SVR", "NuSVR", "OneClassSVM"})


def check_structure(records: Iterable[Record]) -> None:
    """Check every structure that native code would follow.

    Args:
        records: every record that the stream creates.

    Raises:
        StructureError: for the first fault.
    """
    graphs: list[NodeGraph] = []
    for record in records:
        module, name = record.module, record.name
        if module.startswith("sklearn."):
            if name == "Tree" and module == "sklearn.tree._tree":
                graphs.append(tree_graph(record))
            elif name == "newObj" or name in ("KDTree", "BallTree", "KDTree64", "BallTree64"):
                check_space_tree(record)
            elif name.startswith("HistGradientBoosting"):
                graphs += check_boosting(record)
            elif name in _SVM and module.startswith("sklearn.svm."):
                check_support_vectors(record)
            elif record.get("tree_") is not None or record.get("estimators_") is not None:
                check_forest(record)
            elif module.startswith("sklearn.linear_model."):
                check_linear(record)
            else:
                check_lengths(record)
                check_numbers(record)
        elif module.startswith("scipy.sparse"):
            check_sparse(record)
        elif name == "_new_Index":
            check_multi_index(record)
        elif name == "BSpline" and module.startswith("scipy.interpolate."):
            check_spline(record)
        elif name == "Booster":
            if module.startswith("lightgbm."):
                check_lightgbm(record)
            elif module.startswith("xgboost."):
                graphs += check_xgboost(record)
    check_node_graphs(graphs)
