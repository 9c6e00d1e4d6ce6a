# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E501  (an entry of a table reads best on its line)
"""Admitted names in another role or with other arguments, and names that only look like admitted ones."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from . import kit
from .kit import (
    Entry,
    args,
    call,
    inside,
    many,
    mapping,
    name,
    new,
    package,
    shell,
    source,
    stacked,
    text,
    value,
)

__all__ = ["entries"]


def _swapped() -> list[Entry]:
    def called_class(m: Path) -> bytes:
        return inside(call(name("sklearn.preprocessing._data", "StandardScaler"), args()))

    def called_data(m: Path) -> bytes:
        return inside(call(name("numpy", "exp"), args(1000.0)))

    def called_score(m: Path) -> bytes:
        return inside(call(name("sklearn.metrics._classification", "accuracy_score"), args([1], [1])))

    def created_function(m: Path) -> bytes:
        return inside(new(name("numpy", "exp")))

    def created_callee(m: Path) -> bytes:
        return inside(new(name("numpy._core.multiarray", "_reconstruct")))

    def mentioned_callee(m: Path) -> bytes:
        return inside(name("numpy._core.multiarray", "scalar"))

    def mentioned_encode(m: Path) -> bytes:
        return inside(name("_codecs", "encode"))

    def held_function(module: str, attribute: str, **keywords: Any) -> kit.Builder:
        """A step of the pipeline holds a function, which the first prediction calls."""

        def build(m: Path) -> bytes:
            made = {key: item(m) if callable(item) else item for key, item in keywords.items()}
            step = new(name("sklearn.preprocessing._function_transformer", "FunctionTransformer"))
            step += mapping({
                "func": stacked(module, attribute), "inverse_func": pickle.NONE, "validate": pickle.NEWFALSE,
                "accept_sparse": pickle.NEWFALSE, "check_inverse": pickle.NEWFALSE,
                "feature_names_out": pickle.NONE, "kw_args": value(made), "inv_kw_args": pickle.NONE,
            }) + pickle.BUILD  # fmt: skip
            return kit.stream(mapping({"pipeline": step}))

        return build

    def metric(m: Path) -> bytes:
        from sklearn.neighbors import KNeighborsClassifier

        model = kit.fitted(KNeighborsClassifier(algorithm="brute"))
        model.metric, model.effective_metric_ = eval, eval
        return kit.dumped(package(pipeline=model))

    def analyzer(m: Path) -> bytes:
        from sklearn.feature_extraction.text import CountVectorizer

        vectorizer = CountVectorizer().fit(["a word"])
        vectorizer.analyzer = __import__("os").system
        return kit.dumped(package(pipeline=vectorizer))

    def scorer(m: Path) -> bytes:
        import os

        scorer_ = new(name("sklearn.metrics._scorer", "_PredictScorer"))
        return inside(scorer_ + mapping({"_score_func": stacked("os", "system"), "_sign": value(1),
                                         "_kwargs": value({})}) + pickle.BUILD + value(os.curdir)[:0])  # fmt: skip

    probe = "loaded['pipeline'].transform({argument})"
    return [
        Entry("role-class-called", "a class admitted as created is called", called_class, "DP42", "none"),
        Entry("role-data-called", "a function admitted as data is called", called_data, "DP42", "none"),
        Entry("role-score-called", "a score admitted as data is called", called_score, "DP42", "none"),
        Entry("role-function-created", "NEWOBJ on a function", created_function, "DP42", "none"),
        Entry("role-callee-created", "NEWOBJ on what may be called", created_callee, "DP42", "none"),
        Entry("role-callee-held", "what may be called is held as data", mentioned_callee, "DP42", "none"),
        Entry("role-encode-held", "_codecs.encode is held as data", mentioned_encode, "DP42", "none"),
        Entry("use-system", "a step holds os.system", held_function("os", "system"), "DP42", "on use",
              probe=probe.format(argument="\"touch '\" + {marker!r} + \"'\"")),
        Entry("use-dump", "a step holds joblib.dump", held_function("joblib.numpy_pickle", "dump", filename=str),
              "DP42", "on use", probe=probe.format(argument="1")),
        Entry("use-savetxt", "a step holds numpy.savetxt",
              held_function("numpy", "savetxt", X=[1.0]), "DP42", "on use",
              probe=probe.format(argument="{marker!r}")),
        Entry("use-tofile", "a step holds numpy.ndarray.tofile", held_function("numpy", "ndarray.tofile", fid=str),
              "DP42", "none", probe=probe.format(argument="__import__('numpy').ones(2)")),
        Entry("use-eval", "a step holds eval", held_function("builtins", "eval"), "DP42", "on use",
              probe=probe.format(argument="'open(' + repr({marker!r}) + ', \"w\").close()'")),
        Entry("use-metric", "a neighbour's metric is eval", metric, "DP42", "none"),
        Entry("use-analyzer", "a vectorizer's analyzer is os.system", analyzer, "DP42", "on use",
              probe="loaded['pipeline'].transform([\"touch '\" + {marker!r} + \"'\"])"),
        Entry("use-scorer", "a scorer's function is os.system", scorer, "DP42", "none"),
    ]  # fmt: skip


def _arguments() -> list[Entry]:
    codecs = name("_codecs", "encode")

    def factory(kind: bytes) -> kit.Builder:
        return lambda m: inside(call(name("collections", "defaultdict"), many(kind)))

    def factory_runs(m: Path) -> bytes:
        partial = call(name("functools", "partial"), many(name("os", "system"), text(shell(m))))
        made = call(name("collections", "defaultdict"), many(partial))
        return inside(made)

    def reconstructor(cls: bytes, base: bytes, start: bytes) -> kit.Builder:
        return lambda m: inside(call(name("copyreg", "_reconstructor"), many(cls, base, start)))

    def reconstructed_reader(m: Path) -> bytes:
        """The base is not `object`: its __new__ and __init__ are called with the value."""
        reader = (name("_io", "FileIO"), name("_io", "FileIO"), text(str(m)))
        return inside(call(name("copyreg", "_reconstructor"), many(*reader)))

    def newobj_function(m: Path) -> bytes:
        """copyreg.__newobj__ as a function: cls.__new__(cls, *args)."""
        partial = call(name("copyreg", "__newobj__"),
                       many(name("functools", "partial"), name("os", "system"), text(shell(m))))  # fmt: skip
        return inside(call(partial, args()))

    def newobj_ex_function(m: Path) -> bytes:
        made = call(name("copyreg", "__newobj_ex__"),
                    many(name("functools", "partial"), many(name("os", "system"), text(shell(m))), value({})))  # fmt: skip
        return inside(call(made, args()))

    def extension_registered(m: Path) -> bytes:
        added = call(name("copyreg", "add_extension"), args("os", "system", 0x66))
        return inside(many(added, call(pickle.EXT1 + b"\x66", args(shell(m)))))

    def random_constructor(function: str, *arguments: bytes) -> kit.Builder:
        return lambda m: inside(call(name("numpy.random._pickle", function), many(*arguments)))

    def random_runs(m: Path) -> bytes:
        made = call(
            name("numpy.random._pickle", "__randomstate_ctor"), many(text(str(m)), name("os", "mkdir"))
        )
        return inside(made)

    def new_index(cls: bytes, **fields: bytes) -> kit.Builder:
        return lambda m: inside(
            call(name("pandas.core.indexes.base", "_new_Index"), many(cls, mapping(fields)))
        )

    def pyx(m: Path) -> bytes:
        function = name("sklearn._loss._loss", "__pyx_unpickle_CyHalfMultinomialLoss")
        return inside(call(function, many(name("builtins", "object"), value(0xE3B0C44), pickle.NONE)))

    def pyx_other(m: Path) -> bytes:
        """Cython's way to unpickle exists for any class of the module, asked for by name."""
        function = name("sklearn._loss._loss", "__pyx_unpickle_Enum")
        return inside(
            call(function, many(name("sklearn._loss._loss", "CyLossFunction"), value(1), pickle.NONE))
        )

    def deque_over(m: Path) -> bytes:
        mapped = call(name("builtins", "map"), many(name("os", "system"), value([shell(m)])))
        return inside(call(name("collections", "deque"), many(mapped)))

    def timezone(m: Path) -> bytes:
        return inside(call(name("datetime", "datetime"), many(kit.raw(b"\x07\xe9\x01\x01\x00\x00\x00\x00\x00\x00"),
                                                              name("os", "system"))))  # fmt: skip

    huge = value(10**9)
    return [
        Entry("codec-zlib", "_codecs.encode with another codec", lambda m: inside(call(codecs, args("x" * 9, "zlib"))),
              "DP42", "none"),
        Entry("codec-rot13", "_codecs.encode with rot13", lambda m: inside(call(codecs, args("flfgrz", "rot13"))),
              "DP42", "none"),
        Entry("codec-idna", "_codecs.encode with idna, which takes quadratic time",
              lambda m: inside(call(codecs, args("\u0430" * 20_000, "idna"))), "DP42", "none", "CVE-2022-45061"),
        Entry("codec-errors", "_codecs.encode with an error handler by name",
              lambda m: inside(call(codecs, args("\u0430", "latin1", "xmlcharrefreplace"))), "DP42", "none"),
        Entry("codec-wide", "_codecs.encode with text outside latin1",
              lambda m: inside(call(codecs, args("\u0430", "latin1"))), "DP42", "none"),
        Entry("factory-system", "a defaultdict whose factory is os.system", factory(name("os", "getcwd")), "DP42",
              "none"),
        Entry("factory-partial", "a defaultdict whose factory runs on the first missing key", factory_runs, "DP42",
              "on use", "modelaudit pull 1063", "loaded['metadata']['anything']"),
        Entry("factory-object", "a defaultdict whose factory is an estimator class",
              factory(name("sklearn.preprocessing._data", "StandardScaler")), "DP42", "none"),
        Entry("reconstruct-reader", "_reconstructor with a base that opens a file", reconstructed_reader, "DP42",
              "none"),
        Entry("reconstruct-int", "_reconstructor with the base int",
              reconstructor(name("builtins", "bool"), name("builtins", "int"), value(1)), "DP42", "none"),
        Entry("reconstruct-type", "_reconstructor with the base type",
              reconstructor(name("builtins", "type"), name("builtins", "type"), text("x")), "DP42", "none"),
        Entry("reconstruct-base", "_reconstructor whose base is a library class",
              reconstructor(name("sklearn.preprocessing._data", "StandardScaler"),
                            name("sklearn.base", "BaseEstimator"), pickle.NONE), "DP42", "none"),
        Entry("newobj-function", "copyreg.__newobj__ with arguments", newobj_function, "DP42", "runs"),
        Entry("newobj-ex-function", "copyreg.__newobj_ex__", newobj_ex_function, "DP42", "runs"),
        Entry("extension-registered", "copyreg.add_extension, then EXT1", extension_registered, "DP4", "runs"),
        Entry("random-callable", "numpy's RandomState calls the constructor it is given", random_runs, "DP42",
              "runs"),
        Entry("random-generator", "numpy's Generator calls what it is given",
              random_constructor("__generator_ctor", value("MT19937"), name("os", "getcwd")), "DP42", "none"),
        Entry("random-class", "numpy's bit generator of a foreign class",
              random_constructor("__bit_generator_ctor", name("sklearn.dummy", "DummyClassifier")), "DP42", "none"),
        Entry("index-of-bytearray", "pandas' _new_Index creates any class with keywords",
              new_index(name("builtins", "bytearray"), source=huge), "DP42", "none"),
        Entry("index-of-array", "_new_Index creates an array over no memory of its own",
              new_index(name("numpy", "ndarray"), shape=huge, dtype=text("f8")), "DP4", "none"),
        Entry("cython-foreign", "a Cython unpickler with a foreign class", pyx, "DP42", "none"),
        Entry("cython-unknown", "a Cython unpickler that no policy holds", pyx_other, "DP42", "none"),
        Entry("deque-of-map", "a deque pulls from map, which calls", deque_over, "DP42", "runs"),
        Entry("date-zone", "a date whose time zone is a function", timezone, "DP42", "none"),
    ]  # fmt: skip


def _names() -> list[Entry]:
    def named(module: str, attribute: str, *, protocol: int = 4) -> kit.Builder:
        return lambda m: inside(call(stacked(module, attribute), args(shell(m))), protocol=protocol)

    def lines(data: bytes) -> kit.Builder:
        return lambda m: inside(pickle.GLOBAL + data + args(shell(m)) + pickle.REDUCE, protocol=2)

    def main_class(m: Path) -> bytes:
        """A class of the trading system's own, inside the estimator."""
        step = new(name("__main__", "Scaler")) + value({"a": 1}) + pickle.BUILD
        pipe = new(name("sklearn.pipeline", "Pipeline"))
        steps = pickle.EMPTY_LIST + text("scaler") + step + pickle.TUPLE2 + pickle.APPEND
        pipe += mapping({"steps": steps, "memory": pickle.NONE, "verbose": pickle.NEWFALSE}) + pickle.BUILD
        return kit.stream(mapping({"pipeline": pipe}))

    def unknown(module: str, attribute: str, tail: bytes = b"") -> kit.Builder:
        return lambda m: inside(new(name(module, attribute)) + value({"a": 1}) + pickle.BUILD + tail)

    def unknown_with_list(m: Path) -> bytes:
        return inside(new(name("core.ml", "Engineer")) + pickle.MARK + value(1) + pickle.APPENDS)

    def unknown_with_call(m: Path) -> bytes:
        return inside(call(name("core.ml", "make_engineer"), args()))

    def unknown_alone(m: Path) -> bytes:
        return kit.stream(new(name("core.ml", "Engineer")) + value({"a": 1}) + pickle.BUILD)

    def unknown_shadow(m: Path) -> bytes:
        return inside(new(name("core.ml", "Engineer")) + value({"__setstate__": 1}) + pickle.BUILD)

    def unknown_shared(m: Path) -> bytes:
        """The same unknown object beside the estimator and in it."""
        shared = new(name("core.ml", "Engineer")) + pickle.MEMOIZE + value({"a": 1}) + pickle.BUILD
        model = new(name("sklearn.dummy", "DummyClassifier"))
        model += mapping({"constant": pickle.BINGET + b"\x00"}) + pickle.BUILD
        return kit.stream(mapping({"feature_engineer": shared, "pipeline": model}))

    return [
        Entry("name-py2-builtin", "__builtin__ in a protocol that renames it",
              lambda m: inside(call(name("__builtin__", "apply"), args()), protocol=2), "DP42", "none"),
        Entry("name-py2-commands", "commands.getoutput, which Python 3 looks for as subprocess.getoutput",
              lines(b"commands\ngetoutput\n"), "DP42", "runs"),
        Entry("name-py2-urllib", "urllib2.urlopen of Python 2", lines(b"urllib2\nurlopen\n"), "DP42", "none"),
        Entry("name-py2-imap", "itertools.imap, renamed to builtins.map",
              lambda m: inside(call(name("__builtin__", "set"), many(call(name("itertools", "imap"), many(
                  name("os", "system"), value([shell(m)]))))), protocol=2), "DP42", "runs"),
        Entry("name-py2-exceptions", "exceptions.OSError of Python 2",
              lambda m: inside(new(name("exceptions", "OSError")), protocol=2), "DP4", "none"),
        Entry("name-py2-userdict", "UserDict.UserDict, renamed to collections",
              lambda m: inside(call(name("UserDict", "IterableUserDict"), args()), protocol=2), "DP42", "none"),
        Entry("name-py2-pickle", "cPickle.loads, renamed to pickle",
              lambda m: inside(call(name("cPickle", "loads"), many(kit.raw(kit.stream(kit.system(m))))), protocol=2),
              "DP42", "runs"),
        Entry("name-py2-reduce", "__builtin__.reduce, renamed to functools",
              lambda m: inside(call(name("__builtin__", "reduce"), many(
                  name("shutil", "copyfile"), value(["/dev/null", str(m)]))), protocol=2), "DP42", "runs"),
        Entry("name-homoglyph", "a Cyrillic letter in sklearn", named("sk\u04cfearn.pipeline", "Pipeline"), "DP42",
              "none"),
        Entry("name-fullwidth", "full-width letters that Python normalises in source, not here",
              named("\uff4f\uff53", "\uff53\uff59\uff53\uff54\uff45\uff4d"), "DP42", "none"),
        Entry("name-bidi", "a right-to-left override in a name", named("sklearn\u202e.pipeline", "Pipeline"), "DP42",
              "none"),
        Entry("name-zero-width", "a zero-width space in a name", named("os\u200b", "system"), "DP42", "none"),
        Entry("name-escape", "terminal escapes in a name", named("\x1b]0;owned\x07\x1b[2J", "system"), "DP42", "none"),
        Entry("name-newline", "a newline in a name, to forge a line of the report",
              named("sklearn\nverdict: accepted", "x"), "DP42", "none"),
        Entry("name-markup", "markup in a name, for reports in HTML", named("<script>alert(1)</script>", "x"), "DP42",
              "none"),
        Entry("name-null", "a null byte in a name", named("os\0sklearn", "system"), "DP42", "runs"),
        Entry("name-empty", "an empty module", named("", "system"), "DP42", "none"),
        Entry("name-space", "GLOBAL with spaces around its name", lines(b" os \n system \n"), "DP42", "none"),
        Entry("name-return", "GLOBAL with carriage returns", lines(b"os\r\nsystem\r\n"), "DP42", "none"),
        Entry("name-long", "a name of 100,000 characters", named("os", "s" * 100_000), "DP4", "none"),
        Entry("name-case", "another case, for file systems without", named("OS", "system"), "DP42", "none"),
        Entry("name-dunder", "a dotted name over dunders",
              named("sklearn.base", "BaseEstimator.__init__.__globals__"), "DP42", "none"),
        Entry("name-subclasses", "object.__subclasses__ as a name", lambda m: inside(call(
            stacked("builtins", "object.__subclasses__"), args())), "DP42", "none"),
        Entry("name-main-system", "__main__.system", named("__main__", "system"), "DP42", "none"),
        Entry("name-main-inside", "a class of __main__ inside the estimator", main_class, "DP42", "none"),
        Entry("name-unknown-alone", "an unknown class where the estimator belongs", unknown_alone, "DP42", "none"),
        Entry("name-unknown-called", "an unknown function is called", unknown_with_call, "DP42", "none"),
        Entry("name-unknown-items", "items for an unknown class", unknown_with_list, "DP43", "none"),
        Entry("name-unknown-shadow", "an unknown class with a __setstate__ in its state", unknown_shadow, "DP43",
              "none"),
        Entry("name-unknown-shared", "an unknown object beside the estimator and in it", unknown_shared, "DP42",
              "none"),
        Entry("name-library-class", "a class under a library's name that honest models never create",
              unknown("sklearn.utils._testing", "TempMemmap"), "DP42", "none"),
        Entry("name-stdlib-class", "a class of the standard library", unknown("zipimport", "zipimporter"), "DP42",
              "none"),
        Entry("name-pickle-class", "the library that reads us", unknown("depickle.pickles", "Policy"), "DP42",
              "none"),
        Entry("name-source", "a builtin that compiles", lambda m: inside(call(
            name("builtins", "compile"), args(source(m), "x", "exec"))), "DP42", "none"),
    ]  # fmt: skip


def entries() -> list[Entry]:
    """Every entry of this class."""
    return [*_swapped(), *_arguments(), *_names()]
