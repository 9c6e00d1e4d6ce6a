# SPDX-License-Identifier: Apache-2.0
"""What a reviewer said about every callable, load hook and kept function that an honest pickle names.

`generate_policy` fails on a name that is not here. Each group states why its members are harmless, or what makes
them harmless (an argument rule, a structural validator, that the worker never gets them). Names are Python 3's.
"""

from __future__ import annotations

import re
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING

Global = tuple[str, str]


def modern(path: Global) -> Global:
    """A global as Python 3 calls it; protocols 0 to 2 spell some as Python 2 did."""
    return NAME_MAPPING.get(path, (IMPORT_MAPPING.get(path[0], path[0]), path[1]))


# Honest objects exist that name these. They are left out of every policy, and so are refused.
REFUSED: dict[str, str] = {
    "builtins.getattr": "reaches any attribute of anything; bound methods and zoneinfo zones pickle so",
    "functools.partial": "calls what it is given, later; base.json admits one call of it, under a rule of its own",
    "builtins.type": "called with one argument it tells a class, with three it makes one",
    "builtins.Ellipsis": "nothing that a model keeps",
    "builtins.NotImplemented": "nothing that a model keeps",
    "scipy.stats._distn_infrastructure.rv_continuous_frozen": "its distribution's __setstate__ runs exec over a "
    "template kept in the state",
    "scipy.stats._distn_infrastructure.rv_discrete_frozen": "as rv_continuous_frozen",
    "pyarrow.lib._restore_array": "C++ that trusts the offsets of the buffers it is given",
    "pyarrow.lib.py_buffer": "as _restore_array",
    "pyarrow.lib.type_for_alias": "as _restore_array",
    "scipy._lib._ccallback.LowLevelCallable": "a pointer that C code calls",
}

_CALLED: tuple[tuple[str, str], ...] = (
    (
        "builds a value of the language; base.json has a rule for its arguments",
        """builtins.bytearray builtins.bytes builtins.complex builtins.frozenset builtins.range builtins.set
        builtins.slice _codecs.encode collections.OrderedDict collections.defaultdict collections.Counter
        collections.deque copyreg._reconstructor copyreg.__newobj__ datetime.date datetime.datetime datetime.time
        datetime.timedelta datetime.timezone decimal.Decimal""",
    ),
    (
        "builds an array, a dtype or a scalar; base.json has a rule, and sizes are checked against the bytes present",
        """numpy.dtype numpy.core.multiarray._reconstruct numpy._core.multiarray._reconstruct
        numpy.core.multiarray.scalar numpy._core.multiarray.scalar numpy.core.numeric._frombuffer
        numpy._core.numeric._frombuffer numpy.ma.core._mareconstruct""",
    ),
    (
        "builds a random generator; it calls what it is given, so base.json's rule admits numpy's own only",
        """numpy.random._pickle.__bit_generator_ctor numpy.random._pickle.__generator_ctor
        numpy.random._pickle.__randomstate_ctor numpy.random.bit_generator.__pyx_unpickle_SeedSequence
        numpy.random._bit_generator.__pyx_unpickle_SeedSequence""",
    ),
    (
        "builds a Cython object by __new__ of the class it is given; the validators admit only a metric or a tree "
        "of neighbours there, and the trees are checked or rebuilt before use",
        """sklearn.metrics._dist_metrics.newObj sklearn.neighbors._ball_tree.newObj
        sklearn.neighbors._kd_tree.newObj sklearn.neighbors._dist_metrics.newObj""",
    ),
    (
        "a loss of C code: one or two numbers, no arrays, no pointers",
        """sklearn._loss._loss.CyAbsoluteError sklearn._loss._loss.CyExponentialLoss
        sklearn._loss._loss.CyHalfBinomialLoss sklearn._loss._loss.CyHalfGammaLoss
        sklearn._loss._loss.CyHalfMultinomialLoss sklearn._loss._loss.CyHalfPoissonLoss
        sklearn._loss._loss.CyHalfSquaredError sklearn._loss._loss.CyHalfTweedieLoss
        sklearn._loss._loss.CyHalfTweedieLossIdentity sklearn._loss._loss.CyHuberLoss
        sklearn._loss._loss.CyPinballLoss
        sklearn._loss._loss.__pyx_unpickle_CyAbsoluteError sklearn._loss._loss.__pyx_unpickle_CyExponentialLoss
        sklearn._loss._loss.__pyx_unpickle_CyHalfBinomialLoss sklearn._loss._loss.__pyx_unpickle_CyHalfGammaLoss
        sklearn._loss._loss.__pyx_unpickle_CyHalfMultinomialLoss
        sklearn._loss._loss.__pyx_unpickle_CyHalfPoissonLoss sklearn._loss._loss.__pyx_unpickle_CyHalfSquaredError
        sklearn._loss._loss.__pyx_unpickle_CyHalfTweedieLoss
        sklearn._loss._loss.__pyx_unpickle_CyHalfTweedieLossIdentity
        sklearn._loss._loss.__pyx_unpickle_CyHuberLoss sklearn._loss._loss.__pyx_unpickle_CyPinballLoss
        sklearn.linear_model._sgd_fast.EpsilonInsensitive sklearn.linear_model._sgd_fast.Hinge
        sklearn.linear_model._sgd_fast.Huber sklearn.linear_model._sgd_fast.Log
        sklearn.linear_model._sgd_fast.ModifiedHuber sklearn.linear_model._sgd_fast.SquaredEpsilonInsensitive
        sklearn.linear_model._sgd_fast.SquaredHinge sklearn.linear_model._sgd_fast.SquaredLoss""",
    ),
    (
        "allocates a tree of C structures from three sizes; the structural validator checks them against its nodes",
        "sklearn.tree._tree.Tree",
    ),
    (
        "pandas: tables beside the model, never inside an estimator; the arrays in them have base rules",
        """pandas.Interval pandas._libs.interval.Interval pandas.Period pandas.PeriodDtype pandas.StringDtype
        pandas.core.arrays.string_.StringDtype pandas._libs.arrays.__pyx_unpickle_NDArrayBacked
        pandas._libs.internals._unpickle_block pandas._libs.tslibs.nattype._nat_unpickle
        pandas._libs.tslibs.nattype.__nat_unpickle pandas._libs.tslibs.period.Period
        pandas._libs.tslibs.offsets.BusinessDay pandas._libs.tslibs.offsets.Day pandas._libs.tslibs.offsets.Hour
        pandas._libs.tslibs.offsets.Minute pandas._libs.tslibs.offsets.MonthEnd pandas._libs.tslibs.offsets.Week
        pandas._libs.tslibs.timedeltas._timedelta_unpickle pandas._libs.tslibs.timestamps._unpickle_timestamp
        pandas.core.indexes.base._new_Index pandas.core.indexes.datetimes._new_DatetimeIndex
        pandas.core.indexes.interval._new_IntervalIndex pandas.core.indexes.period._new_PeriodIndex
        pandas.core.indexes.timedeltas._new_TimedeltaIndex pandas.core.internals.managers.BlockManager
        pandas.core.internals.managers.SingleBlockManager pandas.core.dtypes.dtypes.PeriodDtype pytz._UTC
        pytz._p""",
    ),
)

_HOOKS: tuple[tuple[str, str], ...] = (
    ("allocates, or takes values that a base rule checks", """
        numpy.dtype.__new__ decimal.Decimal.__new__ collections.deque.__new__"""),
    ("allocates a C structure without arguments that reach memory; its fields have validators", """
        sklearn._loss._loss.CyAbsoluteError.__new__ sklearn._loss._loss.CyExponentialLoss.__new__
        sklearn._loss._loss.CyHalfBinomialLoss.__new__ sklearn._loss._loss.CyHalfGammaLoss.__new__
        sklearn._loss._loss.CyHalfMultinomialLoss.__new__ sklearn._loss._loss.CyHalfPoissonLoss.__new__
        sklearn._loss._loss.CyHalfSquaredError.__new__ sklearn._loss._loss.CyHalfTweedieLoss.__new__
        sklearn._loss._loss.CyHalfTweedieLossIdentity.__new__ sklearn._loss._loss.CyHuberLoss.__new__
        sklearn._loss._loss.CyPinballLoss.__new__ sklearn.linear_model._sgd_fast.EpsilonInsensitive.__new__
        sklearn.linear_model._sgd_fast.Hinge.__new__ sklearn.linear_model._sgd_fast.Huber.__new__
        sklearn.linear_model._sgd_fast.Log.__new__ sklearn.linear_model._sgd_fast.ModifiedHuber.__new__
        sklearn.linear_model._sgd_fast.SquaredEpsilonInsensitive.__new__
        sklearn.linear_model._sgd_fast.SquaredHinge.__new__ sklearn.linear_model._sgd_fast.SquaredLoss.__new__
        sklearn.tree._tree.Tree.__new__"""),
    ("Cython's own: takes a tuple, and these losses have no fields that it could fill", """
        sklearn.linear_model._sgd_fast.Classification.__setstate__
        sklearn.linear_model._sgd_fast.Regression.__setstate__"""),
    ("a named tuple: stores what it is given", "sklearn.impute._iterative._ImputerTriplet.__new__"),
    ("warns that the class is deprecated and allocates", """
        sklearn.linear_model._passive_aggressive.PassiveAggressiveClassifier.__new__
        sklearn.linear_model._passive_aggressive.PassiveAggressiveRegressor.__new__"""),
    ("dtype state is checked field by field", "numpy.dtype.__setstate__"),
    ("compares _sklearn_version, warns, updates __dict__; state keys are checked by the gate",
     "sklearn.base.BaseEstimator.__setstate__"),
    ("as BaseEstimator's, then builds an interpolation from two arrays of the state; lengths have a validator",
     "sklearn.isotonic.IsotonicRegression.__setstate__"),
    ("updates __dict__ and casts the node array; the nodes have a validator", """
        sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor.__setstate__"""),
    ("copies node arrays into C memory; the trees have a validator", "sklearn.tree._tree.Tree.__setstate__"),
    ("ignores the state", "sklearn.utils._bunch.Bunch.__setstate__"),
    ("a dict whose keys are attributes", "sklearn.utils._bunch.Bunch.__setattr__"),
    ("warns about a renamed key and updates __dict__", "sklearn.utils.deprecation._DeprecationDict.__setstate__"),
    ("reads the model text or bytes with the library's C++ parser; the text and the trees have validators", """
        lightgbm.basic.Booster.__setstate__ xgboost.core.Booster.__setstate__"""),
    ("frees the C++ handle, an attribute that the gate never admits in the state", """
        lightgbm.basic.Booster.__del__ xgboost.core.Booster.__del__"""),
    ("renames the attributes of an older layout and updates __dict__",
     "scipy.sparse._coo.coo_matrix.__setstate__ scipy.sparse._coo._coo_base.__setstate__"),
    ("as numpy's, for masked arrays; base.json has a rule", """
        numpy.ma.core.MaskedArray.__new__ numpy.ma.core.MaskedArray.__setstate__
        numpy.ma.MaskedArray.__new__ numpy.ma.MaskedArray.__setstate__"""),
)  # fmt: skip

_KEPT: tuple[tuple[str, str], ...] = (
    (
        "an elementwise or running function of arrays, as FunctionTransformer keeps it",
        """numpy.absolute numpy.arcsinh numpy.arctan numpy.cbrt numpy.ceil numpy.cos numpy.exp numpy.expm1 numpy.floor
        numpy.isfinite numpy.isnan numpy.log numpy.log10 numpy.log1p numpy.log2 numpy.negative numpy.reciprocal
        numpy.rint numpy.sign numpy.sin numpy.sqrt numpy.square numpy.tanh numpy.clip numpy.cumsum numpy.diff
        numpy.gradient numpy.nan_to_num numpy.max numpy.amax numpy.mean numpy.median""",
    ),
    (
        "numpy 1 hands it to the random constructors, whose rule in base.json covers it",
        "numpy.random._pickle.__bit_generator_ctor",
    ),
    (
        "a score of features or of answers: arrays in, numbers out",
        """sklearn.feature_selection._mutual_info.mutual_info_classif
        sklearn.feature_selection._mutual_info.mutual_info_regression
        sklearn.feature_selection._univariate_selection.chi2
        sklearn.feature_selection._univariate_selection.f_classif
        sklearn.feature_selection._univariate_selection.f_regression
        sklearn.feature_selection._univariate_selection.r_regression""",
    ),
    (
        "one pass of the fit, kept as an attribute; predict does not call it",
        """sklearn.cluster._kmeans._kmeans_single_elkan sklearn.cluster._kmeans._kmeans_single_lloyd
        sklearn.cluster._kmeans.lloyd_iter_chunked_dense sklearn.cluster._kmeans.elkan_iter_chunked_dense""",
    ),
    ("calls `score` of the estimator that keeps it", "sklearn.metrics._scorer._passthrough_scorer"),
    ("numpy.asarray, kept by a spline", "scipy._lib.array_api_compat.numpy._aliases.asarray numpy.asarray"),
    ("the missing value, a singleton (`rule: inert`)", "pandas.NA pandas._libs.missing.NA"),
)

# Modules whose public functions take arrays and give numbers; read once as a whole.
_SCORING_MODULES = frozenset(
    """sklearn.metrics._classification sklearn.metrics._ranking sklearn.metrics._regression sklearn.metrics._scorer
    sklearn.metrics.cluster._bicluster sklearn.metrics.cluster._supervised sklearn.metrics.cluster._unsupervised
    """.split()  # noqa: SIM905  # a list this long reads better as text
)
# Where numpy before 2.1 says that its ufuncs live.
_UFUNC_MODULE = re.compile(r"\Anumpy\._?core\._multiarray_umath\.")
# What sklearn._loss._loss calls itself from 1.5 to 1.7; it is in sys.modules once scikit-learn is imported.
_LOSS_MODULE = re.compile(r"\A_loss\.")
_INERT_ROOTS = ("pandas", "pytz", "dateutil")


def _table(groups: tuple[tuple[str, str], ...]) -> dict[str, str]:
    return {name: reason for reason, names in groups for name in names.split()}


_CALL_REASONS, _HOOK_REASONS, _KEEP_REASONS = _table(_CALLED), _table(_HOOKS), _table(_KEPT)


def refused(full: str) -> bool:
    """True for a name that no policy admits although honest objects name it."""
    return full in REFUSED or full.startswith(("operator.", "_operator.", "scipy.stats."))


def reason_to_call(full: str) -> str | None:
    """Why `full` may be called, or None where nobody has reviewed it."""
    return _CALL_REASONS.get(_LOSS_MODULE.sub("sklearn._loss._loss.", full))


def reason_for_hook(hook: str) -> str | None:
    """Why a method that a load runs is harmless, or None where nobody has reviewed it."""
    return _HOOK_REASONS.get(_LOSS_MODULE.sub("sklearn._loss._loss.", hook))


def reason_to_keep(full: str) -> str | None:
    """Why a function may be kept as data, or None where nobody has reviewed it."""
    if full.rpartition(".")[0] in _SCORING_MODULES and not full.rpartition(".")[2].startswith("_"):
        return "a score of answers: arrays in, numbers out"
    return _KEEP_REASONS.get(_UFUNC_MODULE.sub("numpy.", full))


def rule(path: Global) -> str | None:
    """The argument rule that the entry names: ``inert`` for what is read as data only, Cython's own for Cython's."""
    root = path[0].partition(".")[0]
    if root in _INERT_ROOTS:
        return "inert"
    return "pyx_unpickle" if path[1].startswith("__pyx_unpickle_") else None
