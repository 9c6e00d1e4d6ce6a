# SPDX-License-Identifier: Apache-2.0
"""Attribute names that would replace what a class does, were they in the state of its instance."""

from __future__ import annotations

from importlib import resources

__all__ = ["HONEST_KEYS", "METHOD_NAMES", "SHADOWING_KEYS"]

#: Every method, private ones too, of the classes that a policy admits; written by scripts/generate_method_names.py.
#: A trading system's own classes, which are never imported, may use these names for data.
METHOD_NAMES = frozenset(
    (resources.files(__package__) / "method_names.txt").read_text(encoding="ascii").split()
)

#: Methods of estimators, transformers, boosters and kernels; honest states hold fitted values and parameters.
SHADOWING_KEYS = frozenset(
    """
    apply decision_function decision_path densify fit fit_predict fit_transform get_feature_names
    get_feature_names_out get_metadata_routing get_params get_submatrix get_indices get_shape inverse_transform
    kneighbors kneighbors_graph partial_fit predict predict_joint_log_proba predict_log_proba
    predict_proba radius_neighbors reconstruct score score_samples set_fit_request set_output set_params
    set_predict_request set_score_request set_transform_request sparsify staged_decision_function staged_predict
    staged_predict_proba transform get_booster get_xgb_params load_model save_model save_raw inplace_predict
    model_from_string model_to_string dump_model set_param boost update evals_result_callback
    _validate_data _check_feature_names _check_n_features _more_tags _get_tags _repr_html_ _repr_mimebundle_
    _sklearn_auto_wrap_output_keys _estimator_type_ _get_param_names
    """.split()  # noqa: SIM905  (a list this long reads better as text)
)

_REQUESTS = frozenset(
    {"fit", "partial_fit", "predict", "predict_proba", "predict_log_proba", "decision_function", "score"}
    | {"split", "transform", "inverse_transform"}
)

#: Classes without such methods, which keep data under such names, each with the names it keeps.
HONEST_KEYS: dict[str, frozenset[str]] = {
    "sklearn.utils._metadata_requests.MetadataRequest": _REQUESTS,
    "sklearn.utils.metadata_routing.MetadataRequest": _REQUESTS,
    "sklearn.cluster._bisect_k_means._BisectingTree": frozenset({"score"}),
    "sklearn.manifold._t_sne.TSNE": frozenset({"perplexity"}),
}
