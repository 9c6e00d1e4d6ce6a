# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E501  (an entry of a table reads best on its line)
"""Calls of the standard library that run code or touch files; most are bypasses that an advisory describes."""

from __future__ import annotations

import marshal
import pickle
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import kit
from .kit import (
    Effect,
    Entry,
    args,
    call,
    inside,
    many,
    name,
    raw,
    shell,
    source,
    stacked,
    stream,
    text,
    value,
)

__all__ = ["entries"]

_PICKLESCAN = "picklescan "
_FICKLING = "fickling "

Arguments = Callable[[Path], tuple[Any, ...]]

#: module, name, arguments, advisory, effect. Dotted names are methods that take any object for `self`.
_TABLE: tuple[tuple[str, str, Arguments, str | None, Effect], ...] = (
    ("os", "system", lambda m: (shell(m),), None, "runs"),
    ("posix", "system", lambda m: (shell(m),), None, "runs"),
    ("nt", "system", lambda m: (shell(m),), None, "none"),
    ("os", "popen", lambda m: (shell(m),), None, "runs"),
    ("os", "mkdir", lambda m: (str(m),), None, "runs"),
    ("os", "symlink", lambda m: ("target", str(m)), None, "none"),
    ("os", "execv", lambda m: ("/usr/bin/touch", ["touch", str(m)]), None, "runs"),
    ("os", "posix_spawn", lambda m: ("/usr/bin/touch", ["touch", str(m)], {}), None, "runs"),
    ("os", "putenv", lambda m: ("DEPICKLE_ATTACK", "1"), None, "none"),
    ("subprocess", "Popen", lambda m: (["touch", str(m)],), None, "runs"),
    ("subprocess", "check_output", lambda m: (["touch", str(m)],), None, "runs"),
    ("subprocess", "getoutput", lambda m: (shell(m),), None, "runs"),
    ("builtins", "eval", lambda m: (source(m),), None, "runs"),
    ("builtins", "exec", lambda m: (source(m),), None, "runs"),
    ("builtins", "open", lambda m: (str(m), "w"), None, "runs"),
    ("builtins", "breakpoint", lambda m: (), None, "none"),
    ("builtins", "input", lambda m: (), None, "none"),
    ("__builtin__", "eval", lambda m: (source(m),), None, "runs"),
    ("__builtin__", "execfile", lambda m: ("/dev/null",), None, "none"),
    ("runpy", "run_path", lambda m: ("/dev/null",), f"{_FICKLING}GHSA-wfq2-52f7-7qvj", "none"),
    ("runpy", "_run_code", lambda m: (compile(source(m), "x", "exec").co_code, {}), None, "none"),
    ("pty", "spawn", lambda m: (["touch", str(m)],), f"{_FICKLING}GHSA-r7v6-mfhq-g3m2", "runs"),
    ("timeit", "timeit", lambda m: ("", source(m)), f"{_PICKLESCAN}GHSA-v7x6-rv5q-mhwc", "runs"),
    ("pip", "main", lambda m: (["--version"],), "picklescan CVE-2025-1716", "none"),
    ("cProfile", "run", lambda m: (source(m),), f"{_FICKLING}GHSA-p523-jq9w-64x9", "runs"),
    ("cProfile", "runctx", lambda m: (source(m), {}, {}), f"{_PICKLESCAN}GHSA-9w88-8rmg-7g2p", "runs"),
    ("profile", "run", lambda m: (source(m),), f"{_PICKLESCAN}GHSA-7wx9-6375-f5wh", "runs"),
    ("code", "InteractiveInterpreter.runcode", lambda m: ({}, source(m)), f"{_PICKLESCAN}GHSA-cj3c-v495-4xqh", "none"),
    ("bdb", "Bdb.run", lambda m: ({}, source(m)), None, "none"),
    ("trace", "Trace.run", lambda m: ({}, source(m)), f"{_PICKLESCAN}GHSA-5qwp-399c-mjwf", "none"),
    ("doctest", "debug_script", lambda m: (source(m), True), f"{_PICKLESCAN}GHSA-fqq6-7vqf-w3fg", "runs"),
    ("ensurepip", "_run_pip", lambda m: (["--version"],), f"{_PICKLESCAN}GHSA-xp4f-hrf8-rxw7", "none"),
    ("idlelib.calltip", "get_entity", lambda m: (source(m),), f"{_PICKLESCAN}GHSA-9xph-j2h6-g47v", "runs"),
    (
        "idlelib.autocomplete",
        "AutoComplete.get_entity",
        lambda m: ({}, source(m)),
        f"{_PICKLESCAN}GHSA-6w4w-5w54-rjvr",
        "runs",
    ),
    (
        "idlelib.run",
        "Executive.runcode",
        lambda m: ({}, source(m)),
        f"{_PICKLESCAN}GHSA-m869-42cg-3xwr",
        "none",
    ),
    (
        "lib2to3.pgen2.pgen",
        "ParserGenerator.make_label",
        lambda m: (None, {}, f"''+str({source(m)})"),
        f"{_PICKLESCAN}GHSA-p9w7-82w4-7q8m",
        "none",
    ),
    ("lib2to3.pgen2.grammar", "Grammar.loads", lambda m: ({}, b""), f"{_PICKLESCAN}GHSA-f54q-57x4-jg88", "none"),
    (
        "asyncio.unix_events",
        "_UnixSubprocessTransport._start",
        lambda m: ({}, shell(m), True, None, None, None, 0),
        f"{_PICKLESCAN}GHSA-f7qq-56ww-84cr",
        "runs",
    ),
    (
        "distutils.file_util",
        "write_file",
        lambda m: (str(m), ["x"]),
        f"{_PICKLESCAN}GHSA-m273-6v24-x4m4",
        "runs",
    ),
    ("ctypes", "CDLL", lambda m: (None,), f"{_PICKLESCAN}GHSA-4675-36f9-wf6r", "none"),
    ("pydoc", "pipepager", lambda m: ("", shell(m)), f"{_FICKLING}GHSA-5hvc-6wx8-mvv4", "runs"),
    ("pydoc", "locate", lambda m: ("os.system",), f"{_PICKLESCAN}GHSA-84r2-jw7c-4r5q", "none"),
    ("uuid", "_get_command_stdout", lambda m: ("touch", str(m)), f"{_PICKLESCAN}GHSA-g38g-8gr9-h9xp", "runs"),
    ("_osx_support", "_read_output", lambda m: (shell(m),), f"{_PICKLESCAN}GHSA-g38g-8gr9-h9xp", "runs"),
    ("_aix_support", "_read_cmd_output", lambda m: (shell(m),), f"{_FICKLING}GHSA-5hwf-rc88-82xm", "none"),
    ("imaplib", "IMAP4_stream", lambda m: (shell(m),), f"{_PICKLESCAN}GHSA-g38g-8gr9-h9xp", "runs"),
    (
        "test.support.script_helper",
        "assert_python_ok",
        lambda m: ("-c", source(m)),
        f"{_PICKLESCAN}GHSA-g38g-8gr9-h9xp",
        "runs",
    ),
    ("_pyrepl.pager", "pipe_pager", lambda m: ("", shell(m)), f"{_PICKLESCAN}GHSA-g38g-8gr9-h9xp", "none"),
    ("_interpreters", "create", lambda m: (), f"{_FICKLING}GHSA-6ggj-6f2q-f7mx", "none"),
    ("_xxsubinterpreters", "create", lambda m: (), f"{_FICKLING}GHSA-6ggj-6f2q-f7mx", "none"),
    ("pkgutil", "resolve_name", lambda m: ("os:system",), f"{_PICKLESCAN}GHSA-vvpj-8cmc-gx39", "none"),
    ("logging", "FileHandler", lambda m: (str(m),), None, "runs"),
    ("_io", "FileIO", lambda m: (str(m), "w"), None, "runs"),
    ("shutil", "copyfile", lambda m: ("/dev/null", str(m)), None, "runs"),
    ("tempfile", "mktemp", lambda m: (), None, "none"),
    ("sqlite3", "connect", lambda m: (str(m),), None, "runs"),
    ("webbrowser", "open", lambda m: ("about:blank",), None, "none"),
    ("multiprocessing.util", "spawnv_passfds", lambda m: (b"/usr/bin/touch", [b"touch", str(m).encode()], []),
     "modelscan issue 338", "runs"),
    ("smtplib", "SMTP", lambda m: ("127.0.0.1", 1), f"{_FICKLING}GHSA-mxhj-88fx-4pcv", "none"),
    ("socket", "create_connection", lambda m: (("127.0.0.1", 1), 0.1), None, "none"),
    ("signal", "alarm", lambda m: (0,), None, "none"),
    ("sys", "setrecursionlimit", lambda m: (10**6,), None, "changes"),
    ("gc", "disable", lambda m: (), None, "changes"),
    ("warnings", "simplefilter", lambda m: ("ignore",), None, "none"),
    ("importlib", "import_module", lambda m: ("this",), "picklescan issue 66", "changes"),
    ("pickle", "loads", lambda m: (stream(kit.system(m)),), "modelscan issue 267", "runs"),
    ("_pickle", "loads", lambda m: (stream(kit.system(m)),), None, "runs"),
    ("torch.utils.collect_env", "run", lambda m: (shell(m),), f"{_PICKLESCAN}GHSA-f745-w6jp-hpxx", "none"),
    ("torch.jit.unsupported_tensor_ops", "execWrapper", lambda m: (source(m), {}, {}),
     f"{_PICKLESCAN}GHSA-vr7h-p6mm-wpmh", "none"),
    ("torch.serialization", "load", lambda m: (str(m),), None, "none"),
    ("mlflow.projects.backend.local", "_run_entry_point", lambda m: (shell(m), ".", "", ""),
     "modelscan issue 338", "none"),
    ("cloudpickle.cloudpickle", "subimport", lambda m: ("this",), None, "changes"),
    ("dill._dill", "_import_module", lambda m: ("os.system",), None, "none"),
)  # fmt: skip

_PROBES = {
    ("sys", "setrecursionlimit"): "__import__('sys').getrecursionlimit() == 10**6",
    ("gc", "disable"): "not __import__('gc').isenabled()",
    ("importlib", "import_module"): "'this' in __import__('sys').modules",
    ("cloudpickle.cloudpickle", "subimport"): "'this' in __import__('sys').modules",
}


def _plain_calls() -> list[Entry]:
    found: dict[str, Entry] = {}
    for index, (module, attribute, arguments, advisory, effect) in enumerate(_TABLE):
        dotted = "." in attribute
        spelled = stacked if dotted or (index % 2 and module != "__builtin__") else name
        stem = f"call-{module}.{attribute}".replace("_", "-").lower()
        if stem in found:
            stem += "-again"
        found[stem] = Entry(
            stem,
            f"REDUCE of {module}.{attribute}",
            lambda m, s=spelled, mo=module, a=attribute, ar=arguments: inside(
                # Only protocols below 3 rename the modules of Python 2.
                call(s(mo, a), _tuple(ar(m))),
                protocol=2 if mo == "__builtin__" else 4,
            ),
            rule="DP42",
            effect=effect,
            advisory=advisory,
            probe=_PROBES.get((module, attribute)),
        )
    return list(found.values())


def _tuple(items: tuple[Any, ...]) -> bytes:
    return many(*(raw(item) if isinstance(item, bytes) else value(item) for item in items))


def _chains() -> list[Entry]:
    """Several calls, none of which is dangerous alone."""
    imported = call(name("builtins", "__import__"), args("os"))
    getattr_ = name("builtins", "getattr")

    def getattr_chain(m: Path) -> bytes:
        function = getattr_ + many(imported, text("system")) + kit.REDUCE
        return inside(call(function, args(shell(m))))

    def resolve_name(m: Path) -> bytes:
        return inside(call(call(name("pkgutil", "resolve_name"), args("os:system")), args(shell(m))))

    def locate(m: Path) -> bytes:
        return inside(call(call(name("pydoc", "locate"), args("os.system")), args(shell(m))))

    def methodcaller(module: str) -> kit.Builder:
        def build(m: Path) -> bytes:
            caller = call(name(module, "methodcaller"), args("system", shell(m)))
            return inside(caller + many(imported) + kit.REDUCE)

        return build

    def attrgetter(m: Path) -> bytes:
        getter = call(name("_operator", "attrgetter"), args("system"))
        return inside(call(getter + many(imported) + kit.REDUCE, args(shell(m))))

    def itemgetter(m: Path) -> bytes:
        namespace = call(name("builtins", "vars"), many(imported))
        getter = call(name("operator", "itemgetter"), args("system"))
        return inside(call(getter + many(namespace) + kit.REDUCE, args(shell(m))))

    def partial(m: Path) -> bytes:
        return inside(
            call(call(name("functools", "partial"), many(name("os", "system"), text(shell(m)))), args())
        )

    def reduce_(m: Path) -> bytes:
        return inside(
            call(name("functools", "reduce"), many(name("shutil", "copyfile"), value(["/dev/null", str(m)])))
        )

    def map_(m: Path) -> bytes:
        mapped = call(name("builtins", "map"), many(name("os", "system"), value([shell(m)])))
        return inside(call(name("builtins", "list"), many(mapped)))

    def filter_in_set(m: Path) -> bytes:
        mapped = call(name("builtins", "filter"), many(name("os", "system"), value([shell(m)])))
        return inside(call(name("builtins", "set"), many(mapped)))

    def marshalled(m: Path) -> bytes:
        code = marshal.dumps(compile(source(m), "model", "exec"))
        loaded = call(name("marshal", "loads"), many(raw(code)))
        namespace = call(name("builtins", "globals"), args())
        function = call(name("types", "FunctionType"), many(loaded, namespace))
        return inside(call(function, args()))

    def code_type(m: Path) -> bytes:
        code = compile(source(m), "model", "exec")
        fields: tuple[Any, ...] = (
            code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_nlocals, code.co_stacksize,
            code.co_flags, code.co_code, code.co_consts, code.co_names, code.co_varnames, code.co_filename,
            code.co_name, code.co_qualname, code.co_firstlineno, code.co_linetable, code.co_exceptiontable,
        )  # fmt: skip
        made = call(name("types", "CodeType"), _tuple(fields))
        return inside(call(name("builtins", "exec"), many(made)))

    def cloudpickled(m: Path) -> bytes:
        import cloudpickle

        path = str(m)
        function = types.FunctionType(
            compile(f"def touch():\n    open({path!r}, 'w').close()\n", "model", "exec").co_consts[0], {}
        )
        body = cloudpickle.dumps(function, protocol=4)
        return body[:-1] + pickle.EMPTY_TUPLE + pickle.REDUCE + pickle.STOP

    def weakref_finalize(m: Path) -> bytes:
        holder = call(name("collections", "UserDict"), args())
        done = call(name("weakref", "finalize"), many(holder, name("os", "system"), text(shell(m))))
        return inside(done)

    def ctypes_system(m: Path) -> bytes:
        library = call(name("ctypes", "CDLL"), args(None))
        function = getattr_ + many(library, text("system")) + kit.REDUCE
        return inside(call(function, many(raw(shell(m).encode()))))

    def exception_hides_the_call(m: Path) -> bytes:
        return stream(kit.system(m), name("builtins", "NoSuchName"))

    return [
        Entry("chain-getattr", "getattr(__import__('os'), 'system') in steps", getattr_chain, "DP42", "runs",
              "fickling GHSA-h4rm-mm56-xf63"),
        Entry("chain-resolve-name", "pkgutil.resolve_name('os:system') gives any callable", resolve_name, "DP42",
              "runs", "picklescan GHSA-vvpj-8cmc-gx39"),
        Entry("chain-pydoc-locate", "pydoc.locate gives any callable", locate, "DP42", "runs",
              "picklescan GHSA-84r2-jw7c-4r5q"),
        Entry("chain-methodcaller", "operator.methodcaller on a module", methodcaller("operator"), "DP42", "runs",
              "picklescan GHSA-84r2-jw7c-4r5q"),
        Entry("chain-c-methodcaller", "_operator.methodcaller on a module", methodcaller("_operator"), "DP42", "runs",
              "picklescan GHSA-955r-x9j8-7rhh"),
        Entry("chain-attrgetter", "_operator.attrgetter on a module", attrgetter, "DP42", "runs",
              "picklescan GHSA-46h3-79wf-xr6c"),
        Entry("chain-itemgetter", "operator.itemgetter on the namespace of a module", itemgetter, "DP42", "runs"),
        Entry("chain-partial", "functools.partial hides the callable", partial, "DP42", "runs", "fickling pull 210"),
        Entry("chain-reduce", "functools.reduce calls what it is given", reduce_, "DP42", "runs"),
        Entry("chain-map", "map calls, list pulls", map_, "DP42", "runs"),
        Entry("chain-filter-set", "filter calls, an admitted set pulls", filter_in_set, "DP42", "runs",
              "modelaudit pull 1061"),
        Entry("chain-marshal", "marshal.loads and types.FunctionType", marshalled, "DP42", "runs",
              "fickling GHSA-565g-hwwr-4pp3"),
        Entry("chain-code-type", "types.CodeType from its fields", code_type, "DP42", "runs"),
        Entry("chain-cloudpickle", "a function pickled by value", cloudpickled, "DP42", "runs"),
        Entry("chain-finalize", "weakref.finalize calls when the load is over", weakref_finalize, "DP42", "runs",
              "modelaudit pull 1061"),
        Entry("chain-ctypes-system", "libc's system by ctypes", ctypes_system, "DP42", "runs",
              "fickling GHSA-5hvc-6wx8-mvv4"),
        Entry("chain-exception", "runs, then fails on purpose, so that a reader sees an error only",
              exception_hides_the_call, "DP42", "runs"),
    ]  # fmt: skip


def entries() -> list[Entry]:
    """Every entry of this class."""
    return [*_plain_calls(), *_chains()]
