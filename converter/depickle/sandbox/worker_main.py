# SPDX-License-Identifier: Apache-2.0
"""The confined worker: nothing of a legacy file is read before the process that reads it has locked itself in.

One file, run as ``<interpreter> -I -B worker_main.py`` by an environment that has the library versions which wrote
the model. It needs nothing else of depickle and runs on Python 3.8. It is longer than other files of this project
because it must stay alone: what runs in an old environment can be read, hashed and reviewed as one page.

1. The *warm* process imports the libraries once, with one thread, and listens on a socket (file descriptor 0).
   It never reads a byte of a model; the launcher hands it two descriptors per request.
2. Per request it forks a *child*. The child closes every other descriptor, lowers its limits, gives up its
   privileges, enters Landlock without a single path and a seccomp list of about fifty system calls, and only then
   reads the request: the table of admitted globals, the stream, the rows.
3. What the child sends back is flat data: a strict JSON header and raw arrays. No pickle leaves this process.
4. Where a step of the confinement fails, the child ends before it reads. The launcher can ask for a run without
   confinement by a flag whose name says what it is; nothing falls back to it.
"""

from __future__ import annotations

import array
import codecs
import ctypes
import errno
import functools
import gc
import importlib
import io
import json
import os
import pickle
import platform
import resource
import signal
import socket
import struct
import sys
import time
import warnings
from typing import Any, BinaryIO, Callable, ClassVar, Iterable, Mapping, NoReturn, Tuple  # noqa: UP035

__all__ = [
    "PROTOCOL_VERSION",
    "QUESTIONS",
    "ArrayWrapper",
    "RefusedError",
    "RestrictedUnpickler",
    "confine",
    "load_stream",
    "main",
    "navigate",
    "settle",
]

PROTOCOL_VERSION = 1
UNCONFINED_FLAG = "--dangerously-unconfined"
MAX_CONTROL_BYTES = 16 * 1024**2
"""A control frame holds module names and limits only."""
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
EXIT_NOT_CONFINED = 81
EXIT_TRIPWIRE = 82

Policy = Mapping[Tuple[str, str], str]  # noqa: UP006  # evaluated by Python 3.8
"""Exact (module, name) as the stream spells it → ``serve``, ``standin``, ``array`` or ``partial``."""


class RefusedError(Exception):
    """A typed refusal of the child; `kind` is looked up by the launcher, `detail` is shown with care."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail


# ---------------------------------------------------------------------------------------------------------------
# Confinement

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
_SECCOMP_MODE_FILTER = 2
_LANDLOCK_CREATE, _LANDLOCK_RESTRICT = 444, 446
_LANDLOCK_CREATE_RULESET_VERSION = 1

_RET_KILL, _RET_ERRNO, _RET_ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_LD, _JEQ, _JSET, _JGE, _RET = 0x20, 0x15, 0x45, 0x35, 0x06
_CLONE_THREAD, _PROT_EXEC = 0x00010000, 4

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT = 0x40000000
_ON_LINUX = platform.system() == "Linux"

# name → (x86_64, aarch64); None where the architecture has no such call. Numbers from the kernel's tables.
_PLAIN: dict[str, tuple[int | None, int | None]] = {
    "futex": (202, 98),
    "brk": (12, 214),
    "munmap": (11, 215),
    "madvise": (28, 233),
    "mremap": (25, 216),
    "read": (0, 63),
    "write": (1, 64),
    "pread64": (17, 67),
    "readv": (19, 65),
    "writev": (20, 66),
    "lseek": (8, 62),
    "fstat": (5, 80),
    "close": (3, 57),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
    "gettimeofday": (96, 169),
    "time": (201, None),
    "times": (100, 153),
    "getrusage": (98, 165),
    "getrlimit": (97, 163),
    "getrandom": (318, 278),
    "getpid": (39, 172),
    "getppid": (110, 173),
    "gettid": (186, 178),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "getcpu": (309, 168),
    "uname": (63, 160),
    "sysinfo": (99, 179),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "restart_syscall": (219, 128),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
# For the child there are no files. ENOENT and not EPERM: std::filesystem throws on EPERM, so that XGBoost 2.0, which
# looks for a cgroup's limits on load, would abort; a file that is absent it can live without.
_ABSENT: dict[str, tuple[int | None, int | None]] = {
    "open": (2, None),
    "openat": (257, 56),
    "openat2": (437, 437),
    "stat": (4, None),
    "lstat": (6, None),
    "newfstatat": (262, 79),
    "statx": (332, 291),
    "access": (21, None),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "readlink": (89, None),
    "readlinkat": (267, 78),
}
# No honest model asks for these: the child dies at once and the launcher can say why. What is in no table (pipe, dup,
# memfd_create, ioctl …) fails with EPERM.
_DEADLY: dict[str, tuple[int | None, int | None]] = {
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    "connect": (42, 203),
    "sendto": (44, 206),
    "recvfrom": (45, 207),
    "sendmsg": (46, 211),
    "recvmsg": (47, 212),
    "sendmmsg": (307, 269),
    "recvmmsg": (299, 243),
    "kill": (62, 129),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_by_handle_at": (304, 265),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "kexec_load": (246, 104),
}
# Looked at with their arguments.
_CHECKED = {
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "clone": (56, 220),
    "clone3": (435, 435),
    "tgkill": (234, 131),
    "prlimit64": (302, 261),
}


@functools.lru_cache(maxsize=None)  # noqa: UP033  # functools.cache is of 3.9
def _machine() -> str:
    return platform.machine()


@functools.lru_cache(maxsize=None)  # noqa: UP033  # functools.cache is of 3.9
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _syscall(libc: ctypes.CDLL, number: int, *arguments: Any) -> int:
    ctypes.set_errno(0)
    return int(libc.syscall(ctypes.c_long(number), *arguments))


def _prctl(libc: ctypes.CDLL, option: int, *arguments: int) -> None:
    padded = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    if libc.prctl(ctypes.c_int(option), *padded) != 0:
        raise RefusedError("confinement", f"prctl {option}: {os.strerror(ctypes.get_errno())}")


def landlock_abi() -> int:
    """The kernel's Landlock version, 0 where it has none."""
    if not _ON_LINUX:
        return 0
    found = _syscall(
        _libc(),
        _LANDLOCK_CREATE,
        None,
        ctypes.c_size_t(0),
        ctypes.c_uint32(_LANDLOCK_CREATE_RULESET_VERSION),
    )
    return max(found, 0)


def enter_landlock(libc: ctypes.CDLL) -> int:
    """Give up every path, port and scope that this kernel's Landlock knows; returns its version.

    Raises:
        RefusedError: where the kernel has no Landlock or refuses the ruleset.
    """
    abi = landlock_abi()
    if abi < 1:
        raise RefusedError("confinement", "the kernel offers no Landlock")
    files = (1 << 13) - 1
    if abi >= 2:
        files |= 1 << 13  # refer
    if abi >= 3:
        files |= 1 << 14  # truncate
    if abi >= 5:
        files |= 1 << 15  # ioctl on devices
    attributes = struct.pack("=Q", files)
    if abi >= 4:
        attributes += struct.pack("=Q", 0b11)  # bind and connect TCP
    if abi >= 6:
        attributes += struct.pack("=Q", 0b11)  # abstract UNIX sockets, signals
    ruleset = _syscall(
        libc, _LANDLOCK_CREATE, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0)
    )
    if ruleset < 0:
        raise RefusedError("confinement", f"landlock_create_ruleset: {os.strerror(ctypes.get_errno())}")
    entered = _syscall(libc, _LANDLOCK_RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    problem = ctypes.get_errno()
    os.close(ruleset)
    if entered != 0:
        raise RefusedError("confinement", f"landlock_restrict_self: {os.strerror(problem)}")
    return abi


@functools.lru_cache(maxsize=None)  # noqa: UP033  # functools.cache is of 3.9
def seccomp_program(machine: str) -> tuple[bytes, int]:
    """The filter as an array of ``struct sock_filter``: allow what is listed, no files, kill what is deadly.

    Returns:
        The program, and the place in it of the process id that may be signalled, which the child fills in.

    Raises:
        RefusedError: for an architecture without a table.
    """
    if machine not in _ARCHITECTURES:
        raise RefusedError("confinement", f"no system call table for {machine}")
    column = 0 if machine == "x86_64" else 1
    code: list[tuple[int, int, int, int]] = [
        (_LD, 0, 0, 4),
        (_JEQ, 1, 0, _ARCHITECTURES[machine]),
        (_RET, 0, 0, _RET_KILL),
        (_LD, 0, 0, 0),
    ]
    if machine == "x86_64":
        code += [(_JGE, 0, 1, _X32_BIT), (_RET, 0, 0, _RET_KILL)]

    def answer(number: int | None, verdict: int) -> None:
        if number is not None:
            code.extend([(_JEQ, 0, 1, number), (_RET, 0, 0, verdict)])

    def low(argument: int) -> tuple[int, int, int, int]:
        return (_LD, 0, 0, 16 + 8 * argument)

    for name in ("mmap", "mprotect"):  # no new code: a page is writable or executable, never made executable
        code.append((_JEQ, 0, 4, _CHECKED[name][column]))
        code += [low(2), (_JSET, 0, 1, _PROT_EXEC), (_RET, 0, 0, _RET_ERRNO | errno.EPERM)]
        code.append((_RET, 0, 0, _RET_ALLOW))
    for numbers in _PLAIN.values():
        answer(numbers[column], _RET_ALLOW)
    # A thread is refused as if the system had none left; a process is not forgiven.
    code.append((_JEQ, 0, 4, _CHECKED["clone"][column]))
    code += [low(0), (_JSET, 0, 1, _CLONE_THREAD), (_RET, 0, 0, _RET_ERRNO | errno.EAGAIN)]
    code.append((_RET, 0, 0, _RET_KILL))
    answer(
        _CHECKED["clone3"][column], _RET_ERRNO | errno.ENOSYS
    )  # its flags lie in memory: libc falls back to clone
    # abort() signals the own process; nobody else may be signalled.
    code.append((_JEQ, 0, 4, _CHECKED["tgkill"][column]))
    place = 8 * (len(code) + 1) + 4
    code += [low(0), (_JEQ, 0, 1, 0), (_RET, 0, 0, _RET_ALLOW), (_RET, 0, 0, _RET_KILL)]
    # Limits may be read, of this process, and not changed: pid 0, no new limit.
    code.append((_JEQ, 0, 8, _CHECKED["prlimit64"][column]))
    code += [low(0), (_JEQ, 0, 5, 0), low(2), (_JEQ, 0, 3, 0), (_LD, 0, 0, 16 + 8 * 2 + 4), (_JEQ, 0, 1, 0)]
    code += [(_RET, 0, 0, _RET_ALLOW), (_RET, 0, 0, _RET_ERRNO | errno.EPERM)]
    for numbers in _ABSENT.values():
        answer(numbers[column], _RET_ERRNO | errno.ENOENT)
    for numbers in _DEADLY.values():
        answer(numbers[column], _RET_KILL)
    code.append((_RET, 0, 0, _RET_ERRNO | errno.EPERM))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code), place


class _FilterProgram(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def enter_seccomp(libc: ctypes.CDLL) -> None:
    """Install the system call filter for this process.

    Raises:
        RefusedError: where the kernel refuses it.
    """
    template, place = seccomp_program(_machine())
    program = ctypes.create_string_buffer(template, len(template))
    struct.pack_into("=I", program, place, os.getpid())
    described = _FilterProgram(len(template) // 8, ctypes.addressof(program))
    if (
        libc.prctl(
            ctypes.c_int(_PR_SET_SECCOMP),
            ctypes.c_ulong(_SECCOMP_MODE_FILTER),
            ctypes.byref(described),
            ctypes.c_ulong(0),
            ctypes.c_ulong(0),
        )
        != 0
    ):
        raise RefusedError("confinement", f"seccomp: {os.strerror(ctypes.get_errno())}")


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Root without capabilities is a user that owns many files; Landlock takes the files."""
    header = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
    number = {"x86_64": 126, "aarch64": 91}[_machine()]
    if _syscall(libc, number, header, bytes(24)) != 0:
        raise RefusedError("confinement", f"capset: {os.strerror(ctypes.get_errno())}")


def address_space() -> int:
    """Bytes of address space that this process uses, 0 where the system does not say.

    Raises:
        RefusedError: on Linux, where it always says.
    """
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[0]) * resource.getpagesize()
    except OSError as error:
        if _ON_LINUX:
            raise RefusedError("confinement", f"/proc/self/statm: {error.strerror}") from error
        return 0


def lower_limits(space_bytes: int, cpu_seconds: int) -> None:
    """Address space and CPU time as given, and no files, cores, queues, locked memory or processes.

    Raises:
        RefusedError: where the system refuses a limit.
    """
    cpu = int(time.process_time()) + cpu_seconds + 1
    wanted = {
        "RLIMIT_CORE": 0,
        "RLIMIT_FSIZE": 0,
        "RLIMIT_MEMLOCK": 0,
        "RLIMIT_MSGQUEUE": 0,
        "RLIMIT_NPROC": 0,
        "RLIMIT_CPU": cpu,
        "RLIMIT_AS": space_bytes,
    }
    for name, value in wanted.items():
        number = getattr(resource, name, None)
        if number is None:
            continue
        hard = resource.getrlimit(number)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(number, (value, value))
        except (OSError, ValueError) as error:
            if _ON_LINUX:
                raise RefusedError("confinement", f"{name}: {error}") from error


def confine(space_bytes: int, cpu_seconds: int) -> None:
    """Lock this process in for good; every step or none.

    Raises:
        RefusedError: of kind ``confinement`` where a step fails. The caller must end the process.
    """
    if not _ON_LINUX or _machine() not in _ARCHITECTURES:
        raise RefusedError("confinement", f"no confinement for {platform.system()} on {_machine()}")
    libc = _libc()
    lower_limits(space_bytes, cpu_seconds)
    _prctl(libc, _PR_SET_DUMPABLE, 0)  # no ptrace and no /proc/<pid>/mem from siblings of the same user
    _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)
    _drop_capabilities(libc)
    enter_landlock(libc)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))  # what is open stays open; nothing new
    enter_seccomp(libc)


# Events that answering a model never raises. A tripwire, not a wall: whoever runs machine code walks around it.
_TRIPWIRES = (
    "import", "open", "compile", "exec", "os.", "posix.", "socket.", "subprocess.", "shutil.", "ftplib.",
    "http.", "urllib.", "smtplib.", "sqlite3.", "tempfile.", "glob.", "pathlib.", "pty.", "syslog.", "webbrowser.",
    "winreg.", "signal.", "resource.", "fcntl.", "mmap.", "marshal.", "code.__new__", "function.__new__",
    "ctypes.dlopen", "ctypes.string_at", "ctypes.set_errno", "ctypes.set_exception",
    "sys.settrace", "sys.setprofile", "sys.addaudithook", "sys._current_frames", "gc.get_objects",
    "gc.get_referrers", "builtins.input", "builtins.breakpoint", "cpython.run_", "pickle.find_class",
)  # fmt: skip


def set_tripwire(report: Callable[[str], None]) -> None:
    """From now on any event of `_TRIPWIRES` is reported and ends the process."""

    def hook(event: str, arguments: Any) -> None:
        if event.startswith(_TRIPWIRES):
            first = arguments[0] if arguments and isinstance(arguments[0], str) else ""
            report(f"{event} {first[:100]}".strip())
            os._exit(EXIT_TRIPWIRE)

    sys.addaudithook(hook)


# ---------------------------------------------------------------------------------------------------------------
# Reading the stream under the policy


class StandIn:
    """What an auxiliary object of an unknown class becomes: it takes everything and does nothing."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> StandIn:
        """Take any arguments; keep none."""
        return object.__new__(cls)

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        pass

    def __setstate__(self, _state: Any) -> None:
        pass

    def __setitem__(self, _key: Any, _value: Any) -> None:
        pass

    def append(self, _item: Any) -> None:
        """Drop the item."""

    def extend(self, _items: Any) -> None:
        """Drop the items."""


class ArrayWrapper:
    """Takes the place of joblib's ``NumpyArrayWrapper``: says what array bytes follow in the stream."""

    def array(self, stream: BinaryIO, nested: Callable[[BinaryIO], Any]) -> Any:
        """The array whose bytes follow in `stream`; one of objects is read by `nested` under the same policy.

        Raises:
            RefusedError: where the description is not one, or the bytes end early.
        """
        import numpy

        said = vars(self)
        dtype, shape, order = said.get("dtype"), said.get("shape"), said.get("order")
        if not (
            isinstance(dtype, numpy.dtype)
            and isinstance(shape, tuple)
            and all(type(size) is int and size >= 0 for size in shape)
            and order in ("C", "F")
        ):
            raise RefusedError("unreadable", "a joblib array without dtype, shape or order")
        if dtype.hasobject:
            return nested(stream)
        if said.get("numpy_array_alignment_bytes") is not None:
            padding = stream.read(1)
            if len(padding) != 1 or len(stream.read(padding[0])) != padding[0]:
                raise RefusedError("unreadable", "the stream ends within the padding of an array")
        count = 1
        for size in shape:
            count *= size
        data = stream.read(count * dtype.itemsize)
        if len(data) != count * dtype.itemsize:
            raise RefusedError("unreadable", "the stream ends within an array")
        flat = numpy.frombuffer(bytearray(data), dtype=dtype)
        shaped = flat.reshape(shape[::-1]).transpose() if order == "F" else flat.reshape(shape)
        if not dtype.isnative:
            shaped = shaped.astype(dtype.newbyteorder("="))
        return shaped


class CheckArrayPartial(functools.partial):  # type: ignore[type-arg]  # takes none on Python 3.8
    """The one partial that models hold: HistGradientBoosting's check of numerical columns.

    It is made of `check_array` alone, takes only the state that the library writes, once, and answers no call before.
    """

    __slots__ = ("_ready",)
    _ready: bool

    def __new__(cls, *given: Any) -> CheckArrayPartial:
        """Take `check_array` and nothing else.

        Raises:
            RefusedError: for any other function or more arguments.
        """
        if len(given) != 1 or given[0] is None or given[0] is not _check_array():
            raise RefusedError("unadmitted", "functools.partial of something else than check_array")
        made = super().__new__(cls, given[0])
        made._ready = False
        return made

    def __setstate__(self, state: Any) -> None:
        """Take the state ``(check_array, (), keywords, None)``.

        Raises:
            RefusedError: for any other state, and for a second one.
        """
        import numpy

        keywords: Any = state[2] if type(state) is tuple and len(state) == 4 else None
        flag = (
            "force_all_finite"
            if type(keywords) is dict and "force_all_finite" in keywords
            else "ensure_all_finite"
        )
        if (
            self._ready
            or type(keywords) is not dict
            or state[0] is not _check_array()
            or state[1] != ()
            or not (state[3] is None or (type(state[3]) is dict and not state[3]))
            or keywords.keys() != {"dtype", flag}
            or keywords[flag] is not False
            or type(keywords["dtype"]) is not list
            or len(keywords["dtype"]) != 1
            or keywords["dtype"][0] is not numpy.float64
        ):
            raise RefusedError("unadmitted", "functools.partial with a state of its own")
        held = (state[0], (), {"dtype": [numpy.float64], flag: False}, None)
        functools.partial.__setstate__(self, held)  # type: ignore[attr-defined]  # typeshed omits it
        self._ready = True

    def __reduce__(self) -> Any:
        """As the real partial, so that a model that is saved again names nothing of this file."""
        return functools.partial, (self.func,), (self.func, (), self.keywords, None)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """What the real partial answers.

        Raises:
            RefusedError: before it has its state.
        """
        if not self._ready:
            raise RefusedError("unadmitted", "functools.partial is called while it is read")
        return super().__call__(*arguments, **keywords)


def _check_array() -> Any:
    return getattr(sys.modules.get("sklearn.utils.validation"), "check_array", None)


class _Admission:
    """`find_class` of both readers: an exact table, nothing else."""

    policy: Policy = {}  # noqa: RUF012  # set per instance; the class default admits nothing

    def refuse(self, module: str, name: str) -> NoReturn:
        """Raise the refusal of a global that the table does not hold."""
        raise RefusedError("unadmitted", f"{module}.{name}")

    def find_class(self, module: str, name: str) -> Any:
        """The object that the policy admits under exactly this module and name."""
        role = self.policy.get((module, name))
        if role is None or "." in name:
            self.refuse(module, name)
        if role == "array":
            return ArrayWrapper
        if role == "partial":
            return CheckArrayPartial
        if role == "standin":
            return type(name, (StandIn,), {})
        if role != "serve":
            self.refuse(module, name)
        import _compat_pickle

        # The names of Python 2, which protocols 0 to 2 still use.
        if (module, name) in _compat_pickle.NAME_MAPPING:
            module, name = _compat_pickle.NAME_MAPPING[(module, name)]
        elif module in _compat_pickle.IMPORT_MAPPING:
            module = _compat_pickle.IMPORT_MAPPING[module]
        found = sys.modules.get(module) or importlib.import_module(module)
        try:
            return getattr(found, name)
        except AttributeError:
            raise RefusedError("unreadable", f"{module} has no {name} in this environment") from None

    def persistent_load(self, _identifier: Any) -> NoReturn:
        """Refuse: an honest model holds no persistent identifiers."""
        raise RefusedError("unadmitted", "a persistent identifier")


class RestrictedUnpickler(_Admission, pickle.Unpickler):
    """An unpickler that serves exactly the pairs of `policy`, and stand-ins where the policy says so."""

    def __init__(self, file: BinaryIO, policy: Policy) -> None:
        super().__init__(file)
        self.policy = policy


class JoblibUnpickler(_Admission, pickle._Unpickler):
    """The same over joblib's stream, in which the bytes of arrays stand between the opcodes."""

    dispatch: ClassVar[Any] = dict(pickle._Unpickler.dispatch)
    stack: Any  # of the base class; typeshed omits it

    def __init__(self, file: BinaryIO, policy: Policy) -> None:
        super().__init__(file)
        self.policy = policy
        self._file = file

    def _nested(self, stream: BinaryIO) -> Any:
        return RestrictedUnpickler(stream, self.policy).load()

    def load_build(self) -> None:
        """BUILD, after which an array description gives way to its array."""
        build: Any = pickle._Unpickler.dispatch[pickle.BUILD[0]]
        build(self)
        if isinstance(self.stack[-1], ArrayWrapper):
            wrapper = self.stack.pop()
            self.stack.append(wrapper.array(self._file, self._nested))

    dispatch[pickle.BUILD[0]] = load_build


def load_stream(data: bytes, *, joblib: bool, policy: Policy) -> Any:
    """Rebuild the objects of a decompressed stream; call it in a confined process only.

    Raises:
        RefusedError: for a global outside the policy or a stream that cannot be rebuilt.
    """
    reader: Any = (JoblibUnpickler if joblib else RestrictedUnpickler)(io.BytesIO(data), policy)
    try:
        return reader.load()
    except (RefusedError, MemoryError):
        raise
    except Exception as error:
        raise RefusedError("unreadable", f"{type(error).__name__}: {error}") from error


# ---------------------------------------------------------------------------------------------------------------
# Answering

_THREAD_PARAMETERS = ("n_jobs", "num_threads", "num_thread", "nthread", "nthreads", "thread_count")
_METHODS = ("predict", "predict_proba", "decision_function", "score_samples", "transform", "raw_score")


def settle(root: Any) -> bool:
    """Make every estimator reachable from `root` use one thread; true where columns are chosen by name."""
    by_name = False
    seen = set()
    waiting = [root]
    while waiting:
        value = waiting.pop()
        if id(value) in seen or value is None or isinstance(value, (str, bytes, int, float, complex)):
            continue
        seen.add(id(value))
        if isinstance(value, (list, tuple, set, frozenset)):
            waiting.extend(value)
            continue
        if type(value).__name__ == "ndarray":
            if value.dtype.hasobject:
                waiting.extend(value.ravel().tolist())
            continue
        module, name = type(value).__module__, type(value).__name__
        if module.startswith("xgboost.") and name == "Booster":
            value.set_param({"nthread": 1})
            continue
        attributes = value if isinstance(value, dict) else getattr(value, "__dict__", None)
        if not isinstance(attributes, dict):
            continue
        for parameter in _THREAD_PARAMETERS:
            if parameter in attributes:
                attributes[parameter] = 1
        if name == "ColumnTransformer" and module.startswith("sklearn."):
            by_name = by_name or _names_columns(attributes.get("transformers"))
        waiting.extend(attributes.values())
    return by_name


def _names_columns(transformers: Any) -> bool:
    if not isinstance(transformers, (list, tuple)):
        return False
    for _name, _step, columns in transformers:
        if isinstance(columns, str):
            return True
        if hasattr(columns, "__iter__") and any(isinstance(column, str) for column in columns):
            return True
    return False


def navigate(root: Any, path: Iterable[Any]) -> Any:
    """What stands under `path` in `root`.

    Raises:
        RefusedError: where nothing does.
    """
    for step in path:
        try:
            root = root[step]
        except (KeyError, IndexError, TypeError) as error:
            raise RefusedError("path", f"{step!r}: {type(error).__name__}") from error
    return root


def _asked(estimator: Any, method: str) -> Callable[[Any], Any] | None:
    """How `estimator` answers `method`, or None where it does not."""
    kind = type(estimator)
    if kind.__name__ == "Booster" and kind.__module__.startswith(("lightgbm.", "xgboost.")):
        return _booster(estimator, method)
    if method == "raw_score":
        last = estimator
        while type(last).__name__ == "Pipeline" and type(last).__module__.startswith("sklearn."):
            last = last.steps[-1][1]
        origin = type(last).__module__
        keyword = {"lightgbm": "raw_score", "xgboost": "output_margin"}.get(origin.split(".")[0])
        if keyword is None:
            return None
        return lambda X: estimator.predict(X, **{keyword: True})
    found = getattr(estimator, method, None)
    return found if callable(found) else None


def _booster(booster: Any, method: str) -> Callable[[Any], Any] | None:
    if method not in ("predict", "raw_score"):
        return None
    raw = method == "raw_score"
    if type(booster).__module__.startswith("lightgbm."):
        return lambda X: booster.predict(X, raw_score=raw, num_threads=1)
    xgboost = sys.modules["xgboost"]

    def answer(X: Any) -> Any:
        names = None if hasattr(X, "columns") else booster.feature_names
        return booster.predict(xgboost.DMatrix(X, nthread=1, feature_names=names), output_margin=raw)

    return answer


def _flat(value: Any, rows: int) -> tuple[dict[str, Any], bytes]:
    """An answer as description and bytes; labels of text as an index into a list."""
    import numpy

    if isinstance(value, list):
        raise RefusedError("answer", "a list of arrays: several outputs")
    if hasattr(value, "toarray"):
        value = value.toarray()
    value = numpy.asarray(value)
    if value.ndim not in (1, 2) or value.shape[0] != rows:
        raise RefusedError("answer", f"an array of shape {value.shape} for {rows} rows")
    if value.dtype.kind == "O":
        labels = value.ravel().tolist()
        if all(type(label) is str for label in labels):
            value = numpy.asarray(labels, dtype=str).reshape(value.shape)
        elif all(type(label) is int for label in labels):
            value = numpy.asarray(labels, dtype=numpy.int64).reshape(value.shape)
        else:
            raise RefusedError("answer", "labels that are neither all text nor all integers")
    if value.dtype.kind == "U":
        labels, places = numpy.unique(value, return_inverse=True)
        data = numpy.ascontiguousarray(places, dtype="<i8").tobytes()
        return {"dtype": "text", "labels": labels.tolist(), "shape": list(value.shape)}, data
    if value.dtype.kind not in "biuf" or value.dtype.itemsize > 8:
        raise RefusedError("answer", f"an array of {value.dtype}")
    written = numpy.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<"))
    return {"dtype": written.dtype.str, "shape": list(value.shape)}, written.tobytes()


def answer(request: Mapping[str, Any], stream: bytes, raw_rows: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Rebuild the model of `stream` and ask it; the reply's header and its sections.

    Raises:
        RefusedError: for whatever keeps the model from answering.
    """
    import numpy

    policy = {(module, name): role for module, name, role in request["globals"]}
    began = time.perf_counter()
    root = load_stream(stream, joblib=request["container"] == "joblib", policy=policy)
    estimator = navigate(root, request["path"])
    by_name = settle(estimator)
    loaded = time.perf_counter()
    rows = numpy.frombuffer(raw_rows, dtype=request["rows"]["dtype"]).reshape(request["rows"]["shape"])
    asked: Any = rows
    if request["frame"] == "always" or (request["frame"] == "auto" and by_name):
        asked = _frame(estimator, rows)
    described: list[dict[str, Any]] = []
    sections: list[bytes] = []
    for method in request["methods"]:
        if method not in _METHODS:
            raise RefusedError("request", f"method {method!r}")
        ask = _asked(estimator, method)
        if ask is None:
            described.append({"method": method, "form": "absent"})
            continue
        for form in ("batch", "alone") if request["one_by_one"] else ("batch",):
            try:
                if form == "batch":
                    given = ask(asked)
                else:
                    parts = [numpy.asarray(ask(asked[place : place + 1])) for place in range(len(rows))]
                    given = numpy.concatenate(parts) if parts else numpy.asarray(ask(asked))
            except (RefusedError, MemoryError):
                raise
            except Exception as error:
                raise RefusedError("predict", f"{method}: {type(error).__name__}: {error}") from error
            header, data = _flat(given, len(rows))
            header.update({"method": method, "form": form, "bytes": len(data)})
            described.append(header)
            sections.append(data)
    done = time.perf_counter()
    timing = {"load": loaded - began, "answer": done - loaded}
    return {"version": PROTOCOL_VERSION, "status": "ok", "answers": described, "seconds": timing}, sections


QUESTIONS: dict[str, Callable[..., tuple[dict[str, Any], list[bytes]]]] = {"answers": answer}
"""What a child can be asked; `onnx_worker_main` adds to it."""


def _frame(estimator: Any, rows: Any) -> Any:
    names = getattr(estimator, "feature_names_in_", None)
    pandas = sys.modules.get("pandas")
    if pandas is None:
        raise RefusedError("predict", "columns are chosen by name and the environment has no pandas")
    if names is None or len(names) != rows.shape[1]:
        raise RefusedError(
            "predict", "columns are chosen by name and the model does not name as many columns"
        )
    return pandas.DataFrame(rows, columns=list(names))


# ---------------------------------------------------------------------------------------------------------------
# The child


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _reply(descriptor: int, header: Mapping[str, Any], sections: Iterable[bytes] = ()) -> None:
    encoded = json.dumps(header, separators=(",", ":")).encode("utf-8")
    _write_all(descriptor, struct.pack(">I", len(encoded)) + encoded)
    for section in sections:
        _write_all(descriptor, section)


def _refusal(descriptor: int, kind: str, detail: str) -> None:
    short = "".join(letter if letter.isprintable() else "?" for letter in detail)[:500]
    _reply(
        descriptor,
        {"version": PROTOCOL_VERSION, "status": "refused", "kind": kind, "detail": ascii(short)[1:-1]},
    )


def _read_request(descriptor: int, size: int) -> tuple[dict[str, Any], bytes, bytes]:
    data = bytearray()
    while len(data) < size:
        part = os.read(descriptor, size - len(data))
        if not part:
            raise RefusedError("request", "it ends early")
        data += part
    whole = memoryview(data)
    (length,) = struct.unpack(">I", whole[:4])
    header = json.loads(bytes(whole[4 : 4 + length]))
    middle = 4 + length + header["stream_bytes"]
    return header, bytes(whole[4 + length : middle]), bytes(whole[middle:])


def _keep_only(request: int, reply: int) -> None:
    """Descriptor 3 is the request, 4 the reply, 0 to 2 lead nowhere, and there are no others."""
    import fcntl

    request, reply = (fcntl.fcntl(held, fcntl.F_DUPFD, 16) for held in (request, reply))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for held, place in ((request, 3), (reply, 4), (nowhere, 0), (nowhere, 1), (nowhere, 2)):
        os.dup2(held, place)
    os.closerange(5, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def run_child(
    request: int, reply: int, control: Mapping[str, Any], space_bytes: int, *, unconfined: bool
) -> NoReturn:
    """Confine this process, then read the request and answer it; never returns."""
    try:
        _keep_only(request, reply)
        request, reply = 3, 4
        try:
            limits = control["limits"]
            if unconfined:
                lower_limits(space_bytes, limits["cpu_seconds"])
            else:
                _prctl(_libc(), _PR_SET_PDEATHSIG, signal.SIGKILL)
                confine(space_bytes, limits["cpu_seconds"])
            set_tripwire(lambda event: _refusal(reply, "tripwire", event))
        except BaseException as error:
            _refusal(reply, "confinement", getattr(error, "detail", "") or f"{type(error).__name__}: {error}")
            os._exit(EXIT_NOT_CONFINED)
        try:
            header, stream, rows = _read_request(request, control["request_bytes"])
            described, sections = QUESTIONS[header["asks"]](header, stream, rows)
            del header, stream, rows
            _reply(reply, described, sections)
        except RefusedError as refusal:
            _refusal(reply, refusal.kind, refusal.detail)
        except MemoryError:
            _refusal(reply, "memory", "the address space limit")
        except RecursionError:
            _refusal(reply, "unreadable", "nested too deeply")
        except Exception as error:
            _refusal(reply, "request", f"{type(error).__name__}: {error}")
    except BaseException:
        os._exit(1)
    os._exit(0)


# ---------------------------------------------------------------------------------------------------------------
# The warm process

_LIBRARIES = ("numpy", "scipy", "joblib", "threadpoolctl", "pandas", "sklearn", "lightgbm", "xgboost")
_MODULES = (
    "_compat_pickle", "copyreg", "collections", "decimal", "fractions", "numpy.random", "numpy.ma", "scipy.sparse",
    "scipy.special", "scipy.linalg", "scipy.stats", "scipy.spatial", "scipy.spatial.distance", "scipy.optimize",
    "scipy.interpolate", "scipy.ndimage", "scipy.sparse.linalg", "scipy.sparse.csgraph", "joblib.numpy_pickle",
    "sklearn.calibration", "sklearn.cluster", "sklearn.compose", "sklearn.covariance", "sklearn.cross_decomposition",
    "sklearn.decomposition", "sklearn.discriminant_analysis", "sklearn.dummy", "sklearn.ensemble",
    "sklearn.feature_extraction", "sklearn.feature_extraction.text", "sklearn.feature_selection",
    "sklearn.gaussian_process", "sklearn.impute", "sklearn.isotonic", "sklearn.kernel_approximation",
    "sklearn.kernel_ridge", "sklearn.linear_model", "sklearn.manifold", "sklearn.metrics", "sklearn.mixture",
    "sklearn.model_selection", "sklearn.multiclass", "sklearn.multioutput", "sklearn.naive_bayes",
    "sklearn.neighbors", "sklearn.neural_network", "sklearn.pipeline", "sklearn.preprocessing",
    "sklearn.random_projection", "sklearn.semi_supervised", "sklearn.svm", "sklearn.tree", "sklearn.utils",
    "sklearn.experimental.enable_iterative_imputer",
)  # fmt: skip


def threads() -> int:
    """How many threads this process has, or 0 where the system does not say."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 0


class _LeftOut:
    """Says that pyarrow is not installed."""

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> None:
        """Refuse pyarrow; leave everything else to the others."""
        if name.partition(".")[0] == "pyarrow":
            raise ModuleNotFoundError(f"{name} is left out of the worker", name=name)


def import_libraries() -> dict[str, str]:
    """Import what this environment has of the libraries that models are made with; their versions.

    pyarrow is left out, as its allocator starts a thread on import and no admitted model needs it.
    """
    sys.meta_path.insert(0, _LeftOut())
    codecs.lookup(
        "latin-1"
    )  # bytes of protocols 0 to 2 are text in it, and a child cannot import it any more
    versions = {"python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            module = importlib.import_module(library)
        except ImportError:
            continue
        versions[{"sklearn": "scikit-learn"}.get(library, library)] = str(getattr(module, "__version__", ""))
    for name in _MODULES:
        if name.split(".")[0] not in _LIBRARIES or name.split(".")[0] in sys.modules:
            try:
                importlib.import_module(name)
            except ImportError:
                continue
    return versions


def warm_up() -> None:
    """Ask one model of each kind, so that whatever is imported or looked up on first use is there already."""
    import numpy

    if "sklearn" not in sys.modules:
        return
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.ensemble import (
        GradientBoostingClassifier,
        HistGradientBoostingClassifier,
        IsolationForest,
        RandomForestClassifier,
        VotingClassifier,
    )
    from sklearn.gaussian_process import GaussianProcessClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PowerTransformer, QuantileTransformer, RobustScaler
    from sklearn.svm import SVC

    X = numpy.random.RandomState(0).normal(size=(24, 3))
    y = (X[:, 0] > 0).astype(int)
    models = [
        make_pipeline(RobustScaler(), RandomForestClassifier(n_estimators=2, n_jobs=1)),
        make_pipeline(PowerTransformer(), QuantileTransformer(n_quantiles=8), LogisticRegression()),
        GradientBoostingClassifier(n_estimators=2),
        HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=2),
        IsolationForest(n_estimators=2, n_jobs=1),
        CalibratedClassifierCV(SVC(), cv=2),
        VotingClassifier([("a", SVC()), ("b", LogisticRegression())]),
        GaussianProcessClassifier(),
        KNeighborsClassifier(2, n_jobs=1),
        KNeighborsRegressor(2, weights="distance", algorithm="brute", n_jobs=1),
        MLPClassifier((2,), max_iter=2),
    ]
    if "lightgbm" in sys.modules:
        models.append(
            sys.modules["lightgbm"].LGBMClassifier(n_estimators=2, min_child_samples=2, n_jobs=1, verbose=-1)
        )
    if "xgboost" in sys.modules:
        models.append(sys.modules["xgboost"].XGBClassifier(n_estimators=2, n_jobs=1))
    for model in models:
        model.fit(X, y)
        for method in ("predict", "predict_proba", "decision_function"):
            ask = getattr(model, method, None)
            if callable(ask):
                ask(X)
    if "pandas" in sys.modules:
        from sklearn.compose import ColumnTransformer

        frame = sys.modules["pandas"].DataFrame(X, columns=["a", "b", "c"])
        chosen = ColumnTransformer([("s", RobustScaler(), ["a", "b"])], remainder="passthrough")
        make_pipeline(chosen, LogisticRegression()).fit(frame, y).predict(frame)


def prove_confinement() -> dict[str, Any]:
    """Confine a trial child and see that it cannot open a file and dies on asking for a socket.

    Raises:
        RefusedError: where the trial shows anything else.
    """
    # computed once here and shared with every child
    seccomp_program(_machine())
    space = address_space() + (1 << 30)
    child = os.fork()
    if child == 0:
        code = 90
        try:
            confine(space, 10)
            code = 91
            os.open("/", os.O_RDONLY)
            code = 92
        except FileNotFoundError:
            _syscall(_libc(), _DEADLY["socket"][0 if _machine() == "x86_64" else 1] or 0, 1, 1, 0)
            code = 93
        finally:
            os._exit(code)
    _pid, status = os.waitpid(child, 0)
    if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGSYS):
        step = {
            90: "a step failed",
            91: "an unexpected error",
            92: "a file was opened",
            93: "a socket call returned",
        }
        raise RefusedError("confinement", step.get(os.WEXITSTATUS(status), f"status {status}"))
    return {"landlock": landlock_abi(), "seccomp": True, "machine": _machine()}


def _receive(control: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """One control frame and its descriptors, or None at the end."""
    held = array.array("i")
    data = b""
    while len(data) < 4 or len(data) < 4 + struct.unpack(">I", data[:4])[0]:
        part, ancillary, _flags, _address = control.recvmsg(65536, socket.CMSG_SPACE(2 * held.itemsize))
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                held.frombytes(payload[: len(payload) - len(payload) % held.itemsize])
        if not part:
            return None
        data += part
        if len(data) > MAX_CONTROL_BYTES:
            return None
    return json.loads(data[4:]), list(held)


def _send(control: socket.socket, message: Mapping[str, Any]) -> None:
    encoded = json.dumps(message, separators=(",", ":")).encode("utf-8")
    control.sendall(struct.pack(">I", len(encoded)) + encoded)


def _await_child(child: int, wall_seconds: float) -> dict[str, Any]:
    """Wait for `child` no longer than `wall_seconds`, then kill it; how it ended."""
    deadline = time.monotonic() + wall_seconds
    timed_out = False
    while True:
        pid, status, used = os.wait4(child, os.WNOHANG)
        if pid == child:
            break
        left = deadline - time.monotonic()
        if left <= 0:
            timed_out = True
            os.kill(child, signal.SIGKILL)
            pid, status, used = os.wait4(child, 0)
            break
        if hasattr(signal, "sigtimedwait"):
            signal.sigtimedwait([signal.SIGCHLD], left)
        else:
            time.sleep(0.001)
    return {
        "exit": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
        "timed_out": timed_out,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_kilobytes": used.ru_maxrss,
    }


def serve(control: socket.socket, *, unconfined: bool) -> None:
    """Answer requests until the launcher hangs up."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    gc.collect()
    gc.freeze()
    while True:
        received = _receive(control)
        if received is None:
            return
        message, descriptors = received
        outcome: dict[str, Any] = {"version": PROTOCOL_VERSION, "id": message["id"]}
        try:
            if len(descriptors) != 2:
                raise RefusedError("request", "two descriptors are expected")
            for module in message["modules"]:
                try:
                    importlib.import_module(module)
                except Exception as error:
                    raise RefusedError("modules", f"{module}: {type(error).__name__}: {error}") from error
            count = threads()
            if count > 1:
                raise RefusedError("threads", f"{count} threads")
            space = address_space() + message["limits"]["memory_bytes"]
            child = os.fork()
            if child == 0:
                control.close()
                run_child(descriptors[0], descriptors[1], message, space, unconfined=unconfined)
            for descriptor in descriptors:
                os.close(descriptor)
            descriptors = []
            outcome.update(_await_child(child, message["limits"]["wall_seconds"]))
        except RefusedError as refusal:
            outcome.update({"refused": refusal.kind, "detail": ascii(refusal.detail[:500])[1:-1]})
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        _send(control, outcome)


def main(arguments: list[str], prepare: Callable[[], None] = lambda: None) -> int:
    """Import, `prepare` what another question needs, prove the confinement, say hello, serve."""
    unconfined = UNCONFINED_FLAG in arguments
    for variable in THREAD_VARIABLES:
        os.environ[variable] = "1"
    # closerange() of the child walks up to this number; the warm process needs few descriptors
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    few = 256 if hard == resource.RLIM_INFINITY else min(256, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, few))
    control = socket.socket(fileno=os.dup(0))
    hello: dict[str, Any] = {"version": PROTOCOL_VERSION, "confinement": None, "versions": {}, "threads": 0}
    try:
        warnings.simplefilter("ignore")
        if not unconfined:
            hello["confinement"] = prove_confinement()
        hello["versions"] = import_libraries()
        warm_up()
        prepare()
        hello["threads"] = threads()
        if hello["threads"] > 1:
            raise RefusedError("threads", f"{hello['threads']} threads after the imports")
    except RefusedError as refusal:
        _send(control, {"version": PROTOCOL_VERSION, "refused": refusal.kind, "detail": refusal.detail[:500]})
        return 1
    except Exception as error:
        detail = ascii(f"{type(error).__name__}: {error}"[:500])[1:-1]
        _send(control, {"version": PROTOCOL_VERSION, "refused": "libraries", "detail": detail})
        return 1
    _send(control, hello)
    serve(control, unconfined=unconfined)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
