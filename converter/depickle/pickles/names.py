# SPDX-License-Identifier: Apache-2.0
"""What names mean, as data: the base rules, what no policy may admit, and whose name is whose.

Nothing here imports what it names. The lists serve three questions: which argument rule a pair has whatever a
policy file says (`BASE_RULES`), what may never be admitted (`FORBIDDEN_ROOTS`, `FORBIDDEN_NAMES`), and whether an
unknown class pretends to come from a library (`is_library_module`).
"""

from __future__ import annotations

import re
import sys

__all__ = [
    "BASE_RULES",
    "CANONICAL_MODULES",
    "FORBIDDEN_NAMES",
    "FORBIDDEN_ROOTS",
    "LANGUAGE_TYPES",
    "is_library_module",
    "is_plain_name",
]

_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*\Z")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")

#: Characters; the longest honest module path and class name seen are 59 and 46.
MAX_NAME_LENGTH = 200


def is_plain_name(module: str, name: str) -> bool:
    """True for an ASCII module path and an undotted identifier: a dotted name walks attributes on load."""
    return (
        len(module) <= MAX_NAME_LENGTH
        and len(name) <= MAX_NAME_LENGTH
        and _MODULE.match(module) is not None
        and _NAME.match(name) is not None
    )


#: Protocols 0 to 2 spell these modules as Python 2 did; the graph spells them as Python 3 does.
CANONICAL_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}

#: Exact pair to argument rule. The rule holds whatever a policy file says about the pair.
BASE_RULES: dict[tuple[str, str], str] = {
    ("_codecs", "encode"): "codecs_encode",
    ("collections", "OrderedDict"): "ordered_dict",
    ("collections", "defaultdict"): "defaultdict",
    ("collections", "Counter"): "counter",
    ("datetime", "datetime"): "datetime",
    ("datetime", "date"): "datetime",
    ("datetime", "time"): "datetime",
    ("datetime", "timedelta"): "datetime",
    ("datetime", "timezone"): "datetime",
    ("numpy", "dtype"): "dtype",
    ("joblib.numpy_pickle", "NumpyArrayWrapper"): "joblib_array",
    ("functools", "partial"): "check_array_partial",
    ("sklearn.impute._iterative", "_ImputerTriplet"): "imputer_triplet",
}
for _module in ("builtins", "__builtin__"):
    BASE_RULES |= {
        (_module, "bytearray"): "bytearray",
        (_module, "bytes"): "bytes",
        (_module, "set"): "set",
        (_module, "frozenset"): "frozenset",
        (_module, "complex"): "complex",
        (_module, "slice"): "slice",
        (_module, "range" if _module == "builtins" else "xrange"): "slice",
    }
for _module in ("copyreg", "copy_reg"):
    BASE_RULES |= {(_module, "_reconstructor"): "reconstructor", (_module, "__newobj__"): "newobj"}
for _core in ("numpy.core", "numpy._core"):
    BASE_RULES |= {
        (f"{_core}.multiarray", "_reconstruct"): "ndarray",
        (f"{_core}.multiarray", "scalar"): "scalar",
        (f"{_core}.numeric", "_frombuffer"): "frombuffer",
    }
for _name in ("__randomstate_ctor", "__generator_ctor", "__bit_generator_ctor"):
    BASE_RULES[("numpy.random._pickle", _name)] = "numpy_random"
BASE_RULES |= {
    ("numpy.ma.core", "_mareconstruct"): "masked_array",
    ("sklearn.utils._bunch", "Bunch"): "mapping",
    ("sklearn.utils", "Bunch"): "mapping",
}

#: Types of the language that a model may mention (``dtype=float``, ``defaultdict(int)``); creating nothing.
LANGUAGE_TYPES = frozenset(
    (module, name)
    for module in ("builtins", "__builtin__")
    for name in (
        *("object", "int", "float", "bool", "str", "dict", "list", "tuple"),
        *("bytes", "bytearray", "set", "frozenset", "complex", "unicode", "long"),
    )
)

#: Roots of modules out of which no policy may admit anything: each starts processes, opens files or sockets,
#: compiles code, or calls what it is given.
FORBIDDEN_ROOTS = frozenset(
    """
    __main__ _io _operator _osx_support _pickle _posixsubprocess _socket _testcapi ast asyncio atexit bdb builtins
    __builtin__ cProfile code codeop commands compileall concurrent copyreg copy_reg ctypes _ctypes cloudpickle
    dill dis distutils doctest email ensurepip faulthandler fcntl fileinput ftplib functools _functools gc glob
    http idlelib imaplib imp importlib inspect io itertools lib2to3 linecache logging mailbox marshal mmap
    modulefinder multiprocessing netrc nntplib nt ntpath operator os pathlib pdb pickle pip pkg_resources pkgutil
    platform popen2 poplib posix posixpath pprint profile pty py_compile pydoc requests runpy sched selectors
    setuptools shelve shlex shutil signal site smtplib socket socketserver sqlite3 ssl subprocess sys sysconfig
    tarfile telnetlib tempfile test threading _thread timeit torch trace traceback tracemalloc turtle types urllib
    urllib2 uuid venv warnings weakref webbrowser winreg wsgiref xml xmlrpc zipapp zipfile zipimport
    """.split()  # noqa: SIM905  (a list this long reads better as text)
)

#: Single names that no policy may admit although their library is admitted: each runs or reaches what it is given.
#: ``functools.partial`` may be called under its own rule, which base.json names, and nothing else.
FORBIDDEN_NAMES = frozenset(
    {
        ("functools", "partial"),
        ("numpy", "load"),
        ("numpy", "save"),
        ("numpy", "fromfile"),
        ("numpy", "memmap"),
        ("numpy", "vectorize"),
        ("numpy", "frompyfunc"),
        ("numpy.testing._private.utils", "runstring"),
        ("numpy.f2py.crackfortran", "myeval"),
        ("joblib", "load"),
        ("joblib.numpy_pickle", "load"),
        ("joblib.disk", "delete_folder"),
        ("pandas", "eval"),
        ("pandas", "read_pickle"),
        ("pandas.io.pickle", "read_pickle"),
        ("sklearn.datasets._base", "clear_data_home"),
        ("sklearn.utils._testing", "check_output"),
    }
)

#: Top-level packages that a trading system installs; a class "from" one of them is the library's or a lie.
_LIBRARY_ROOTS = frozenset(
    """
    MetaTrader5 PIL absl aiohttp alembic attr attrs bokeh boto3 botocore bs4 cachetools catboost certifi cffi
    chardet charset_normalizer click cloudpickle cryptography Cython dask dateutil dill distributed django docutils
    fastapi fastparquet filelock flask fsspec google greenlet grpc h5py httpx hyperopt idna imblearn jax jaxlib
    jinja2 joblib jupyter keras kiwisolver lightgbm llvmlite lxml lz4 markupsafe matplotlib mlflow mlxtend mpmath
    msgpack msgspec narwhals networkx nltk numba numexpr numpy onnx onnxmltools onnxruntime openpyxl optuna orjson
    packaging pandas patsy peewee pip pkg_resources plotly polars prophet psutil psycopg2 py pyarrow pycparser
    pydantic pygments pymongo pyparsing pytest pytz ray redis requests rich s3fs scipy seaborn setuptools shap six
    skl2onnx sklearn skopt skops sqlalchemy starlette statsmodels sympy ta tables talib tensorboard tensorflow
    threadpoolctl toolz torch torchvision tornado tqdm transformers typing_extensions tzdata tzlocal ujson urllib3
    uvicorn uvloop vectorbt watchdog werkzeug wheel wrapt xarray xgboost yaml yfinance zmq zstandard
    depickle depickle_runtime
    """.split()  # noqa: SIM905  (a list this long reads better as text)
)
_PYTHON2_MODULES = frozenset(
    """
    __builtin__ copy_reg commands popen2 urllib2 urlparse httplib cPickle StringIO cStringIO Queue ConfigParser
    SocketServer Tkinter UserDict UserList UserString anydbm exceptions new sets thread imp distutils asyncore
    asynchat smtpd pipes crypt nis spwd telnetlib imghdr sndhdr xdrlib cgi cgitb nntplib uu audioop chunk msilib
    ossaudiodev sunau aifc mailcap lib2to3 parser symbol formatter macpath binhex dummy_threading _dummy_thread
    nt posix winreg msvcrt
    """.split()  # noqa: SIM905  (a list this long reads better as text)
)
_STDLIB = (frozenset(sys.stdlib_module_names) | _PYTHON2_MODULES | FORBIDDEN_ROOTS) - {"__main__"}


def is_library_module(module: str) -> bool:
    """True where `module` belongs to the standard library (3 or 2) or to a known package.

    A class from there is either in the policy or refused; it never passes for a trading system's own class.
    """
    root = module.partition(".")[0]
    return root in _STDLIB or root in _LIBRARY_ROOTS
