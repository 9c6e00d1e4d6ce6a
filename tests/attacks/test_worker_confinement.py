# SPDX-License-Identifier: Apache-2.0
"""A child that gains code execution reaches nothing, and what it says is not believed.

Three layers are shown apart: the tripwire (an audit hook), the system call filter with Landlock behind the
tripwire's back, and the launcher's distrust of replies. The tables of globals here admit what no policy admits.
"""

from __future__ import annotations

import ctypes
import json
import os
import pickle
import signal
import stat
import struct
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import make_dataclass
from pathlib import Path

import numpy as np
import pytest
from sklearn.dummy import DummyRegressor

from depickle.errors import SandboxError
from depickle.sandbox import Limits, Worker, open_worker, protocol, worker_main
from tests.converter.worker_kit import Use, Vetted, as_pickle, environment, numbers

pytestmark = pytest.mark.skipif(
    sys.platform != "linux",
    reason="the confinement under test is that of Linux; elsewhere the worker refuses",
)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with open_worker(environment()) as opened:
        yield opened


# ---- streams that run code, given a table that admits it --------------------------------------------------------


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def _global(module: str, name: str) -> bytes:
    return _text(module) + _text(name) + b"\x93"


def _value(value: object) -> bytes:
    if isinstance(value, bytes):
        return b"C" + bytes([len(value)]) + value
    return pickle.dumps(value, protocol=2)[2:-1]


def _call(callee: bytes, *arguments: bytes) -> bytes:
    return callee + b"(" + b"".join(arguments) + b"tR"


def _file(body: bytes, *admitted: tuple[str, str]) -> Vetted:
    return Vetted(b"\x80\x04" + body + b".", "pickle", tuple(Use(*pair, "called") for pair in admitted))


def _code(source: str) -> Vetted:
    return _file(_call(_global("builtins", "exec"), _text(source)), ("builtins", "exec"))


def _native(function: str, *arguments: bytes) -> Vetted:
    """Calls a function of libc, which raises no audit event, and puts what it returned into a model's answer."""
    called = _call(
        _call(_global("builtins", "getattr"), _global("ctypes", "pythonapi"), _text(function)), *arguments
    )
    constant = _call(_global("numpy", "full"), _value((1, 1)), called)
    state = b"}" + _text("constant_") + constant + b"s" + _text("n_outputs_") + b"K\x01s"
    state += _text("strategy") + _text("constant") + b"s" + _text("_sklearn_version") + _text("x") + b"s"
    model = _global("sklearn.dummy", "DummyRegressor") + b")\x81" + state + b"b"
    return _file(
        model,
        ("builtins", "getattr"),
        ("ctypes", "pythonapi"),
        ("numpy", "full"),
        ("sklearn.dummy", "DummyRegressor"),
    )


CODE = {
    "writes a file": "open({marker!r}, 'w').write('x')",
    "reads a file": "open('/etc/passwd').read()",
    "runs a command": "import os; os.system('touch {marker}')",
    "starts a process": "import subprocess; subprocess.Popen(['touch', {marker!r}])",
    "opens a socket": "import socket; socket.socket()",
    "loads a library": "import ctypes; ctypes.CDLL('libc.so.6')",
    "imports what is not imported": "import antigravity",
    "signals the parent": "import os; os.kill(os.getppid(), 9)",
}


@pytest.mark.parametrize("name", CODE)
def test_code_in_the_child_trips_the_wire(worker: Worker, name: str, tmp_path: Path) -> None:
    marker = str(tmp_path / "marker")
    with pytest.raises(SandboxError) as caught:
        worker.answers(
            _code(CODE[name].replace("{marker!r}", repr(marker)).replace("{marker}", marker)), (), numbers()
        )
    assert caught.value.code == "DP507"
    assert list(tmp_path.iterdir()) == []


NATIVE_DENIED = {
    "open for reading": ("open", b"/etc/passwd", 0),
    "open for writing": ("open", b"{marker}", os.O_CREAT | os.O_WRONLY, 0o600),
    "make a directory": ("mkdir", b"{marker}", 0o700),
    "remove a file": ("unlink", b"{victim}"),
    "rename a file": ("rename", b"{victim}", b"{marker}"),
    "change a mode": ("chmod", b"{victim}", 0o777),
    "look whether a file is there": ("access", b"/etc/passwd", 0),
    "change the directory": ("chdir", b"/"),
    "an anonymous file": ("memfd_create", b"x", 0),
    "another descriptor": ("dup", 3),
    "become another user": ("setuid", 65534),
    "raise a limit": ("nice", -5),
    "make memory executable": ("mprotect", 0, 4096, 7),
}


@pytest.mark.parametrize("name", NATIVE_DENIED)
def test_machine_code_gets_nothing_from_the_system(worker: Worker, name: str, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"untouched")
    victim.chmod(0o600)
    function, *arguments = NATIVE_DENIED[name]
    for place, path in ((b"{marker}", tmp_path / "marker"), (b"{victim}", victim)):
        arguments = [os.fsencode(path) if given == place else given for given in arguments]
    answers = worker.answers(
        _native(function, *(_value(argument) for argument in arguments)), (), numbers(), methods=("predict",)
    )
    assert answers.predict[0] == -1
    assert [entry.name for entry in tmp_path.iterdir()] == ["victim"]
    assert victim.read_bytes() == b"untouched"
    assert stat.S_IMODE(victim.stat().st_mode) == 0o600


NATIVE_DEADLY = {
    "socket": (2, 1, 0),
    "fork": (),
    "vfork": (),
    "system": (b"true",),
    "execv": (b"/bin/true", 0),
    "kill": ("{parent}", 9),
    "ptrace": (16, 1, 0, 0),
    "process_vm_readv": (1, 0, 0, 0, 0, 0),
    "unshare": (0x10000000,),
    "mount": (0, b"/", 0, 32, 0),
    "chroot": (b"/",),
}


@pytest.mark.parametrize("function", NATIVE_DEADLY)
def test_machine_code_that_asks_for_more_dies(worker: Worker, function: str) -> None:
    arguments = [worker._process.pid if given == "{parent}" else given for given in NATIVE_DEADLY[function]]
    with pytest.raises(SandboxError) as caught:
        worker.answers(_native(function, *(_value(argument) for argument in arguments)), (), numbers())
    assert caught.value.code == "DP506"
    assert "SIGSYS" in caught.value.found
    assert worker._process.poll() is None  # the warm process lives and serves on
    answers = worker.answers(as_pickle(DummyRegressor().fit(numbers(), numbers()[:, 0])), (), numbers())
    assert answers.predict is not None


@pytest.mark.parametrize("name", ["sleeps", "spins"])
def test_a_child_cannot_hang_past_its_limit(worker: Worker, name: str) -> None:
    seconds = _value(60)
    hanging = {
        "sleeps": _file(_call(_global("time", "sleep"), seconds), ("time", "sleep")),
        "spins": _file(
            _call(_global("collections", "deque"), _call(_global("itertools", "repeat"), b"N"), b"K\x00"),
            ("collections", "deque"),
            ("itertools", "repeat"),
        ),
    }
    began = time.monotonic()
    with pytest.raises(SandboxError) as caught:
        worker.answers(hanging[name], (), numbers(), limits=Limits(seconds=0.5))
    assert caught.value.code == "DP504"
    assert time.monotonic() - began < 10


def test_a_child_cannot_take_all_memory(worker: Worker) -> None:
    taking = _file(_call(_global("builtins", "bytearray"), _value(1 << 40)), ("builtins", "bytearray"))
    with pytest.raises(SandboxError) as caught:
        worker.answers(taking, (), numbers())
    assert caught.value.code == "DP505"


def test_a_child_holds_no_bytes_of_an_earlier_model(worker: Worker) -> None:
    """The warm process never holds a model, so there is nothing of a sibling in the child's memory."""
    secret = os.urandom(24).hex()
    constant = DummyRegressor(strategy="constant", constant=1.0).fit(numbers(), numbers()[:, 0])
    constant.note_ = secret * 40
    worker.answers(as_pickle(constant), (), numbers())
    with (
        open(f"/proc/{worker._process.pid}/maps") as maps,
        open(f"/proc/{worker._process.pid}/mem", "rb") as memory,
    ):
        for line in maps:
            span, rights, *rest = line.split()
            if not rights.startswith("rw") or (rest and rest[-1].startswith("[v")):
                continue
            first, last = (int(part, 16) for part in span.split("-"))
            memory.seek(first)
            try:
                held = memory.read(last - first)
            except OSError:
                continue
            assert secret.encode() not in held


# ---- each wall alone --------------------------------------------------------------------------------------------


def _in_a_child(action: str) -> str:
    """Run `action` in a process of its own; what it printed, or the signal that killed it."""
    program = "import ctypes, os, sys\nfrom depickle.sandbox import worker_main\n" + textwrap.dedent(action)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode < 0:
        return signal.Signals(-done.returncode).name
    return done.stdout.strip() or done.stderr.strip()[-300:]


def test_landlock_alone_denies_every_path() -> None:
    action = """
        libc = worker_main._libc()
        worker_main._prctl(libc, 38, 1)
        worker_main.enter_landlock(libc)
        found = []
        for path in ('/etc/passwd', '/', sys.executable):
            try:
                os.open(path, os.O_RDONLY)
                found.append(path)
            except PermissionError:
                pass
        print('opened', found)
    """
    assert _in_a_child(action) == "opened []"


def test_landlock_keeps_signals_from_other_processes_where_the_kernel_can() -> None:
    if worker_main.landlock_abi() < 6:
        pytest.skip(f"Landlock version {worker_main.landlock_abi()} has no scopes; seccomp denies kill")

    action = """
        libc = worker_main._libc()
        worker_main._prctl(libc, 38, 1)
        worker_main.enter_landlock(libc)
        try:
            os.kill(os.getppid(), 0)
            print('signalled')
        except PermissionError:
            print('denied')
    """
    assert _in_a_child(action) == "denied"


def test_seccomp_alone_kills_a_call_under_another_architecture() -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("only x86-64 has the x32 calls")

    action = """
        libc = worker_main._libc()
        worker_main._prctl(libc, 38, 1)
        worker_main.enter_seccomp(libc)
        libc.syscall(ctypes.c_long(0x40000000 + 39))
        print('lived')
    """
    assert _in_a_child(action) == "SIGSYS"


def test_a_confined_process_has_no_capabilities_and_gains_none() -> None:
    action = """
        libc = worker_main._libc()
        status = os.open('/proc/self/status', os.O_RDONLY)
        worker_main.confine(worker_main.address_space() + (1 << 30), 10)
        text = os.read(status, 65536).decode()
        held = {line.partition(':')[0]: line.partition(':')[2].strip() for line in text.splitlines()}
        print(held['CapEff'], held['CapPrm'], held['NoNewPrivs'], held['Seccomp'])
    """
    assert _in_a_child(action) == "0000000000000000 0000000000000000 1 2"


def test_an_architecture_without_a_table_is_refused() -> None:
    with pytest.raises(worker_main.RefusedError, match="no system call table for riscv64"):
        worker_main.seccomp_program("riscv64")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_is_a_program_whose_jumps_stay_inside(machine: str) -> None:
    program, place = worker_main.seccomp_program(machine)
    instructions = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    for at, (code, true, false, _) in enumerate(instructions):
        if code in (0x15, 0x35, 0x45):
            assert at + 1 + max(true, false) < len(instructions)
    assert instructions[-1][0] == 0x06
    assert instructions[(place - 4) // 8][0] == 0x15


def test_a_worker_that_cannot_confine_refuses_to_start(tmp_path: Path) -> None:
    """A kernel without Landlock, as far as the worker can tell."""
    with pytest.raises(SandboxError) as caught:
        open_worker(_fake(tmp_path, {"version": 1, "refused": "confinement", "detail": "no Landlock"}))
    assert caught.value.code == "DP501"


# ---- replies that are not believed ------------------------------------------------------------------------------

HELLO = {
    "version": 1,
    "confinement": {"landlock": 7, "seccomp": True, "machine": "x86_64"},
    "versions": {"python": "3.11.0"},
    "threads": 1,
}


def _fake(folder: Path, hello: object, reply: bytes = b"", outcome: object = None) -> object:
    """An environment whose interpreter is a script that says what the test wants."""
    script = folder / "python"
    script.write_text(
        f"""#!{sys.executable}
import array, json, os, socket, struct
control = socket.socket(fileno=os.dup(0))
def say(data):
    control.sendall(struct.pack('>I', len(data)) + data)
say({_encoded(hello)!r})
data, ancillary, _, _ = control.recvmsg(1 << 20, 64)
held = array.array('i'); held.frombytes(ancillary[0][2])
left = {reply!r}
while left:
    left = left[os.write(held[1], left):]
os.close(held[1])
say({_encoded(outcome if outcome is not None else {"version": 1, "id": 1, "exit": 0})!r})
control.recv(1)
"""
    )
    script.chmod(0o700)
    kind = make_dataclass("Fake", [("python", Path), ("name", str), ("versions", dict)], frozen=True)
    return kind(script, "fake", {})


def _encoded(message: object) -> bytes:
    return message if isinstance(message, bytes) else json.dumps(message).encode()


def _reply(header: object, *sections: bytes) -> bytes:
    encoded = _encoded(header)
    return struct.pack(">I", len(encoded)) + encoded + b"".join(sections)


def _said(**changes: object) -> dict[str, object]:
    described = {"method": "predict", "form": "batch", "dtype": "<f8", "shape": [3], "bytes": 24, **changes}
    return {"version": 1, "status": "ok", "answers": [described], "seconds": {"load": 0.1, "answer": 0.1}}


THREE = np.arange(3.0).tobytes()
PLACES = np.array([0, 1, 0], dtype="<i8").tobytes()
BAD_REPLIES = {
    "nothing but a length": b"\xff\xff\xff\xff",
    "three bytes": b"abc",
    "a pickle": pickle.dumps([1.0, 2.0, 3.0]),
    "a header that is no JSON": _reply(b"{'version': 1}"),
    "a header that is not UTF-8": _reply(b'{"status": "\xff"}'),
    "a deeply nested header": _reply(b"[" * 100_000),
    "another version": _reply({**_said(), "version": 2}, THREE),
    "an unknown field": _reply({**_said(), "pickle": "gASVCwAAAA=="}, THREE),
    "an unknown status": _reply({"status": "fine"}),
    "an array of objects": _reply(_said(dtype="|O"), THREE),
    "a structured dtype": _reply(_said(dtype="f8,f8", bytes=48), THREE + THREE),
    "big-endian numbers": _reply(_said(dtype=">f8"), THREE),
    "too few rows": _reply(_said(shape=[2], bytes=16), THREE[:16]),
    "too few bytes": _reply(_said(), THREE[:-1]),
    "bytes after the end": _reply(_said(), THREE, b"x"),
    "more columns than there can be": _reply(_said(shape=[3, 5000], bytes=3 * 5000 * 8), THREE * 5000),
    "three dimensions": _reply(_said(shape=[3, 1, 1]), THREE),
    "a negative size": _reply(_said(shape=[-3]), THREE),
    "a size as a fraction": _reply(_said(shape=[3.5]), THREE),
    "a method that was not asked": _reply(_said(method="predict_proba"), THREE),
    "a method of another name": _reply(_said(method="__reduce__"), THREE),
    "no answers": _reply({**_said(), "answers": []}),
    "an answer twice": _reply({**_said(), "answers": _said()["answers"] * 2}, THREE, THREE),
    "absent, with content": _reply(_said(form="absent"), THREE),
    "text without labels": _reply(_said(dtype="text"), PLACES),
    "labels that repeat": _reply(_said(dtype="text", labels=["a", "a"]), PLACES),
    "an index past the labels": _reply(_said(dtype="text", labels=["a"]), PLACES),
    "a label with a null": _reply(_said(dtype="text", labels=["a", "b\x00"]), PLACES),
    "labels beside numbers": _reply(_said(labels=["a", "b"]), THREE),
    "a truth value of two": _reply(_said(dtype="|b1", bytes=3), b"\x00\x01\x02"),
    "a refusal with bytes after it": _reply(
        {"version": 1, "status": "refused", "kind": "predict", "detail": "x"}, b"x"
    ),
    "not-a-number as JSON": _reply(b'{"version": 1, "status": "ok", "answers": [], "seconds": NaN}'),
}


@pytest.mark.parametrize("name", BAD_REPLIES)
def test_a_forged_reply_is_refused(name: str) -> None:
    with pytest.raises(SandboxError) as caught:
        protocol.parse_reply(BAD_REPLIES[name], rows=3, methods=("predict",), one_by_one=False)
    assert caught.value.code == "DP508"


def test_a_well_formed_reply_is_read() -> None:
    arrays, seconds = protocol.parse_reply(
        _reply(_said(), THREE), rows=3, methods=("predict",), one_by_one=False
    )
    assert arrays["predict", "batch"].tolist() == [0.0, 1.0, 2.0]
    assert seconds == (0.1, 0.1)


def test_every_shortened_reply_is_refused() -> None:
    whole = _reply(_said(dtype="text", labels=["a", "b"]), PLACES)
    for length in range(len(whole)):
        with pytest.raises(SandboxError):
            protocol.parse_reply(whole[:length], rows=3, methods=("predict",), one_by_one=False)


BAD_GREETINGS = {
    "no greeting": (b"hello", "DP508"),
    "a greeting without a word of confinement": ({**HELLO, "confinement": None}, "DP501"),
    "a greeting with threads": ({**HELLO, "threads": 4}, "DP508"),
    "a refusal for its threads": ({"version": 1, "refused": "threads", "detail": "3 threads"}, "DP503"),
    "a refusal for its libraries": ({"version": 1, "refused": "libraries", "detail": "no numpy"}, "DP502"),
    "a greeting of a megabyte": (b" " * (1 << 20), "DP508"),
}


@pytest.mark.parametrize("name", BAD_GREETINGS)
def test_a_worker_that_greets_wrongly_is_refused(name: str, tmp_path: Path) -> None:
    hello, code = BAD_GREETINGS[name]
    with pytest.raises(SandboxError) as caught:
        open_worker(_fake(tmp_path, hello))
    assert caught.value.code == code


ENDINGS = {
    "garbage for a reply": (b"\x00\x00\x00\x02{}", None, "DP508"),
    "no reply, and a child that left": (b"", {"version": 1, "id": 1, "exit": 0}, "DP506"),
    "a child that was killed": (b"", {"version": 1, "id": 1, "signal": 11}, "DP506"),
    "a child that was out of time": (b"", {"version": 1, "id": 1, "signal": 9, "timed_out": True}, "DP504"),
    "a good reply of a child that then crashed": (b"GOOD", {"version": 1, "id": 1, "signal": 11}, "DP506"),
    "an outcome of another request": (b"GOOD", {"version": 1, "id": 2, "exit": 0}, "DP508"),
    "an outcome that is no JSON": (b"GOOD", b"{", "DP508"),
    "an unknown kind of refusal": (
        _reply({"version": 1, "status": "refused", "kind": "\x1b[2J", "detail": "\x1b]0;owned\x07"}),
        None,
        "DP516",
    ),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_a_worker_that_ends_wrongly_gives_no_answers(name: str, tmp_path: Path) -> None:
    reply, outcome, code = ENDINGS[name]
    good = _reply(_said(), THREE)
    with open_worker(_fake(tmp_path, HELLO, good if reply == b"GOOD" else reply, outcome)) as fake:
        with pytest.raises(SandboxError) as caught:
            fake.answers(Vetted(b"N.", "pickle", ()), (), numbers()[:3], methods=("predict",))
        assert caught.value.code == code
        assert "\x1b" not in caught.value.diagnostics()


def test_a_worker_that_floods_the_pipe_is_cut_off(tmp_path: Path) -> None:
    flood = _fake(tmp_path, HELLO, b"x" * 100_000)
    with open_worker(flood, limits=Limits(reply_bytes=1000)) as fake:
        with pytest.raises(SandboxError) as caught:
            fake.answers(Vetted(b"N.", "pickle", ()), (), numbers()[:3], methods=("predict",))
        assert caught.value.code == "DP509"


def test_an_interpreter_that_exits_at_once_is_a_typed_error(tmp_path: Path) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho 'no such \x1b[31m module' >&2\nexit 3\n")
    script.chmod(0o700)
    kind = make_dataclass("Gone", [("python", Path), ("name", str), ("versions", dict)], frozen=True)
    with pytest.raises(SandboxError) as caught:
        open_worker(kind(script, "gone", {}))
    assert caught.value.code == "DP515"
    assert "\x1b" not in str(caught.value)


def test_numbers_of_the_calls_agree_with_the_running_kernel() -> None:
    """The table is typed by hand; on this machine getpid and gettid must be what libc says."""
    column = 0 if os.uname().machine == "x86_64" else 1
    libc = ctypes.CDLL(None)
    assert libc.syscall(ctypes.c_long(worker_main._PLAIN["getpid"][column])) == os.getpid()
    assert libc.syscall(ctypes.c_long(worker_main._PLAIN["getppid"][column])) == os.getppid()
