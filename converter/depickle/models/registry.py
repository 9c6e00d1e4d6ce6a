# SPDX-License-Identifier: Apache-2.0
"""From the class that a record names to the reader of its family; a class that is not here is refused."""

from __future__ import annotations

from collections.abc import Mapping

from .compositions import read_bagging, read_search, read_stacking, read_voting
from .decisions import (
    read_calibrated,
    read_fixed_threshold,
    read_one_vs_one,
    read_one_vs_rest,
    read_tuned_threshold,
)
from .embedding import read_trees_embedding
from .encoders import read_binarizer, read_bins, read_one_hot_encoder, read_ordinal_encoder
from .forests import read_forest, read_tree
from .gradient_boosting import read_gradient_boosting
from .hist_boosting import read_hist_gradient_boosting
from .interface import PredictorReader, TransformReader
from .isolation import read_isolation_forest
from .lightgbm import read_lightgbm
from .likelihoods import (
    read_bernoulli_bayes,
    read_categorical_bayes,
    read_count_bayes,
    read_gaussian_bayes,
    read_nearest_centroid,
    read_quadratic_discriminant,
)
from .linear import (
    read_discriminant,
    read_latent_regressor,
    read_linear_classifier,
    read_linear_outliers,
    read_linear_regressor,
    read_logistic_regression,
    read_sgd_classifier,
)
from .neighbours import read_neighbours
from .networks import read_network
from .powers import read_normalizer, read_power
from .preprocessing import (
    read_imputer,
    read_max_abs_scaler,
    read_min_max_scaler,
    read_robust_scaler,
    read_standard_scaler,
)
from .projections import read_ica, read_pca, read_projection
from .regressors import (
    read_consensus_regressor,
    read_dummy_classifier,
    read_dummy_regressor,
    read_isotonic_regressor,
    read_log_linear_regressor,
    read_transformed_target,
)
from .selectors import read_model_selector, read_selector, read_supported, read_univariate_selector
from .support_vectors import read_one_class, read_support_classifier, read_support_regressor
from .unions import (
    read_column_transformer,
    read_feature_union,
    read_function_transformer,
    read_polynomial,
    read_transformer_pipeline,
)
from .weight_boosting import read_adaboost, read_adaboost_regressor
from .wrappers import read_frozen, read_frozen_transform, read_self_training, read_several_outputs
from .xgboost import read_xgboost

__all__ = ["PREDICTORS", "TRANSFORMS"]

_LINEAR_REGRESSORS: Mapping[str, PredictorReader] = {
    f"sklearn.linear_model.{name}": read_linear_regressor
    for name in (
        "_bayes.ARDRegression",
        "_coordinate_descent.MultiTaskElasticNet",
        "_coordinate_descent.MultiTaskElasticNetCV",
        "_coordinate_descent.MultiTaskLasso",
        "_coordinate_descent.MultiTaskLassoCV",
        "_least_angle.Lars",
        "_least_angle.LarsCV",
        "_least_angle.LassoLars",
        "_least_angle.LassoLarsCV",
        "_least_angle.LassoLarsIC",
        "_omp.OrthogonalMatchingPursuit",
        "_omp.OrthogonalMatchingPursuitCV",
        "_passive_aggressive.PassiveAggressiveRegressor",
        "_quantile.QuantileRegressor",
        "_theil_sen.TheilSenRegressor",
    )
}

PREDICTORS: Mapping[str, PredictorReader] = {
    "sklearn.tree._classes.DecisionTreeClassifier": read_tree,
    "sklearn.tree._classes.DecisionTreeRegressor": read_tree,
    "sklearn.tree._classes.ExtraTreeClassifier": read_tree,
    "sklearn.tree._classes.ExtraTreeRegressor": read_tree,
    "sklearn.ensemble._forest.RandomForestClassifier": read_forest,
    "sklearn.ensemble._forest.RandomForestRegressor": read_forest,
    "sklearn.ensemble._forest.ExtraTreesClassifier": read_forest,
    "sklearn.ensemble._forest.ExtraTreesRegressor": read_forest,
    "sklearn.ensemble._gb.GradientBoostingClassifier": read_gradient_boosting,
    "sklearn.ensemble._gb.GradientBoostingRegressor": read_gradient_boosting,
    "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingClassifier": (
        read_hist_gradient_boosting
    ),
    "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingRegressor": (
        read_hist_gradient_boosting
    ),
    "lightgbm.sklearn.LGBMClassifier": read_lightgbm,
    "lightgbm.sklearn.LGBMRegressor": read_lightgbm,
    "lightgbm.basic.Booster": read_lightgbm,
    "xgboost.core.Booster": read_xgboost,
    "xgboost.sklearn.XGBClassifier": read_xgboost,
    "xgboost.sklearn.XGBRegressor": read_xgboost,
    "xgboost.sklearn.XGBRFClassifier": read_xgboost,
    "xgboost.sklearn.XGBRFRegressor": read_xgboost,
    "sklearn.linear_model._logistic.LogisticRegression": read_logistic_regression,
    "sklearn.linear_model._logistic.LogisticRegressionCV": read_logistic_regression,
    "sklearn.linear_model._ridge.RidgeClassifier": read_linear_classifier,
    "sklearn.linear_model._ridge.RidgeClassifierCV": read_linear_classifier,
    "sklearn.linear_model._perceptron.Perceptron": read_linear_classifier,
    "sklearn.linear_model._passive_aggressive.PassiveAggressiveClassifier": read_linear_classifier,
    "sklearn.linear_model._stochastic_gradient.SGDClassifier": read_sgd_classifier,
    "sklearn.discriminant_analysis.LinearDiscriminantAnalysis": read_discriminant,
    "sklearn.neural_network._multilayer_perceptron.MLPClassifier": read_network,
    "sklearn.neural_network._multilayer_perceptron.MLPRegressor": read_network,
    "sklearn.svm._classes.LinearSVC": read_linear_classifier,
    "sklearn.svm._classes.LinearSVR": read_linear_regressor,
    "sklearn.neighbors._classification.KNeighborsClassifier": read_neighbours,
    "sklearn.neighbors._regression.KNeighborsRegressor": read_neighbours,
    "sklearn.svm._classes.SVC": read_support_classifier,
    "sklearn.svm._classes.NuSVC": read_support_classifier,
    "sklearn.svm._classes.SVR": read_support_regressor,
    "sklearn.svm._classes.NuSVR": read_support_regressor,
    "sklearn.svm._classes.OneClassSVM": read_one_class,
    "sklearn.linear_model._base.LinearRegression": read_linear_regressor,
    "sklearn.linear_model._ridge.Ridge": read_linear_regressor,
    "sklearn.linear_model._ridge.RidgeCV": read_linear_regressor,
    "sklearn.linear_model._coordinate_descent.Lasso": read_linear_regressor,
    "sklearn.linear_model._coordinate_descent.LassoCV": read_linear_regressor,
    "sklearn.linear_model._coordinate_descent.ElasticNet": read_linear_regressor,
    "sklearn.linear_model._coordinate_descent.ElasticNetCV": read_linear_regressor,
    "sklearn.linear_model._huber.HuberRegressor": read_linear_regressor,
    "sklearn.linear_model._bayes.BayesianRidge": read_linear_regressor,
    "sklearn.linear_model._stochastic_gradient.SGDRegressor": read_linear_regressor,
    "sklearn.linear_model._stochastic_gradient.SGDOneClassSVM": read_linear_outliers,
    **_LINEAR_REGRESSORS,
    "sklearn.linear_model._ransac.RANSACRegressor": read_consensus_regressor,
    "sklearn.linear_model._glm.glm.PoissonRegressor": read_log_linear_regressor,
    "sklearn.linear_model._glm.glm.GammaRegressor": read_log_linear_regressor,
    "sklearn.linear_model._glm.glm.TweedieRegressor": read_log_linear_regressor,
    "sklearn.cross_decomposition._pls.PLSRegression": read_latent_regressor,
    "sklearn.cross_decomposition._pls.PLSCanonical": read_latent_regressor,
    "sklearn.cross_decomposition._pls.CCA": read_latent_regressor,
    "sklearn.compose._target.TransformedTargetRegressor": read_transformed_target,
    "sklearn.isotonic.IsotonicRegression": read_isotonic_regressor,
    "sklearn.dummy.DummyRegressor": read_dummy_regressor,
    "sklearn.dummy.DummyClassifier": read_dummy_classifier,
    "sklearn.naive_bayes.GaussianNB": read_gaussian_bayes,
    "sklearn.naive_bayes.MultinomialNB": read_count_bayes,
    "sklearn.naive_bayes.ComplementNB": read_count_bayes,
    "sklearn.naive_bayes.BernoulliNB": read_bernoulli_bayes,
    "sklearn.naive_bayes.CategoricalNB": read_categorical_bayes,
    "sklearn.discriminant_analysis.QuadraticDiscriminantAnalysis": read_quadratic_discriminant,
    "sklearn.neighbors._nearest_centroid.NearestCentroid": read_nearest_centroid,
    "sklearn.model_selection._search.GridSearchCV": read_search,
    "sklearn.model_selection._search.RandomizedSearchCV": read_search,
    "sklearn.model_selection._search_successive_halving.HalvingGridSearchCV": read_search,
    "sklearn.model_selection._search_successive_halving.HalvingRandomSearchCV": read_search,
    "sklearn.model_selection._classification_threshold.FixedThresholdClassifier": read_fixed_threshold,
    "sklearn.model_selection._classification_threshold.TunedThresholdClassifierCV": read_tuned_threshold,
    "sklearn.ensemble._voting.VotingClassifier": read_voting,
    "sklearn.ensemble._voting.VotingRegressor": read_voting,
    "sklearn.ensemble._bagging.BaggingClassifier": read_bagging,
    "sklearn.ensemble._bagging.BaggingRegressor": read_bagging,
    "sklearn.ensemble._weight_boosting.AdaBoostClassifier": read_adaboost,
    "sklearn.ensemble._weight_boosting.AdaBoostRegressor": read_adaboost_regressor,
    "sklearn.ensemble._iforest.IsolationForest": read_isolation_forest,
    "sklearn.ensemble._stacking.StackingClassifier": read_stacking,
    "sklearn.ensemble._stacking.StackingRegressor": read_stacking,
    "sklearn.calibration.CalibratedClassifierCV": read_calibrated,
    "sklearn.multiclass.OneVsRestClassifier": read_one_vs_rest,
    "sklearn.multiclass.OneVsOneClassifier": read_one_vs_one,
    "sklearn.semi_supervised._self_training.SelfTrainingClassifier": read_self_training,
    "sklearn.frozen._frozen.FrozenEstimator": read_frozen,
    "sklearn.multioutput.ClassifierChain": read_several_outputs,
    "sklearn.multioutput.RegressorChain": read_several_outputs,
    "sklearn.multioutput.MultiOutputClassifier": read_several_outputs,
    "sklearn.multioutput.MultiOutputRegressor": read_several_outputs,
}

TRANSFORMS: Mapping[str, TransformReader] = {
    "sklearn.preprocessing._data.StandardScaler": read_standard_scaler,
    "sklearn.preprocessing._data.RobustScaler": read_robust_scaler,
    "sklearn.preprocessing._data.MinMaxScaler": read_min_max_scaler,
    "sklearn.preprocessing._data.MaxAbsScaler": read_max_abs_scaler,
    "sklearn.preprocessing._data.Binarizer": read_binarizer,
    "sklearn.preprocessing._discretization.KBinsDiscretizer": read_bins,
    "sklearn.preprocessing._encoders.OneHotEncoder": read_one_hot_encoder,
    "sklearn.preprocessing._encoders.OrdinalEncoder": read_ordinal_encoder,
    "sklearn.ensemble._forest.RandomTreesEmbedding": read_trees_embedding,
    "sklearn.decomposition._pca.PCA": read_pca,
    "sklearn.decomposition._incremental_pca.IncrementalPCA": read_pca,
    "sklearn.decomposition._truncated_svd.TruncatedSVD": read_projection,
    "sklearn.decomposition._fastica.FastICA": read_ica,
    "sklearn.neighbors._nca.NeighborhoodComponentsAnalysis": read_projection,
    "sklearn.random_projection.GaussianRandomProjection": read_projection,
    "sklearn.preprocessing._data.Normalizer": read_normalizer,
    "sklearn.preprocessing._data.PowerTransformer": read_power,
    "sklearn.impute._base.SimpleImputer": read_imputer,
    "sklearn.feature_selection._variance_threshold.VarianceThreshold": read_selector,
    "sklearn.feature_selection._univariate_selection.SelectKBest": read_univariate_selector,
    "sklearn.feature_selection._univariate_selection.SelectPercentile": read_univariate_selector,
    "sklearn.feature_selection._univariate_selection.SelectFpr": read_univariate_selector,
    "sklearn.feature_selection._univariate_selection.SelectFdr": read_univariate_selector,
    "sklearn.feature_selection._univariate_selection.SelectFwe": read_univariate_selector,
    "sklearn.feature_selection._univariate_selection.GenericUnivariateSelect": read_univariate_selector,
    "sklearn.feature_selection._from_model.SelectFromModel": read_model_selector,
    "sklearn.feature_selection._rfe.RFE": read_supported,
    "sklearn.feature_selection._rfe.RFECV": read_supported,
    "sklearn.feature_selection._sequential.SequentialFeatureSelector": read_supported,
    "sklearn.preprocessing._polynomial.PolynomialFeatures": read_polynomial,
    "sklearn.preprocessing._function_transformer.FunctionTransformer": read_function_transformer,
    "sklearn.compose._column_transformer.ColumnTransformer": read_column_transformer,
    "sklearn.pipeline.FeatureUnion": read_feature_union,
    "sklearn.pipeline.Pipeline": read_transformer_pipeline,
    "sklearn.frozen._frozen.FrozenEstimator": read_frozen_transform,
}
