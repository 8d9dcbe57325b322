"""The layers that a forked child puts on before it runs foreign code, in the order in which they must come.

| layer | stops | does not stop |
|---|---|---|
| group | Ctrl-C and survivors: they die with the group | a child that leaves the group |
| descriptors | use of anything the parent had open | what is in memory already |
| environment | reading keys from the environment, also by address | copies the parent kept in its own objects |
| mappings | changing memory that the parent shares with others | reading the copy of the parent's private memory |
| namespace | every network | descriptors that are already open |
| no_new_privs | gaining rights by executing files | use of rights already held |
| rlimits | memory, processor time, files, processes, core dumps | processes, while the user is root |
| user | touching what belongs to root, where root calls | what anybody may touch; another caller's own |
| tether | outliving the parent; being traced by others of the user | anything else |
| landlock | opening any path; TCP | stat, chdir; UDP; open descriptors |
| seccomp | every call but computing | what computing alone can do: use time, write wrong replies, side channels |

Nothing here hides the parent's memory from the child: it is a fork. What it learns can leave only in the reply, so a
caller must not publish replies, and must keep secrets that matter out of the process that forks. Nor is its use of
real memory bounded by `memory_mib` alone: it may also write to its copies of all that the parent had mapped.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from logic.sandbox import linux
from logic.sandbox.channel import Limits

try:
    import resource
except ImportError:  # pragma: no cover (Windows, which cannot fork either)
    resource = None  # type: ignore[assignment]

_CLOSE_RANGE = 436  # the same on all machines
_NEW_FILES = 8  # descriptor numbers below this exist at all
_USERS = (61184, 4336)  # first and count: the range systemd gives to services that own nothing
_NOBODY = 65534
_BUFFERS: list[object] = []


@dataclass(frozen=True)
class Plan:
    """What the layers need to know. `root` is whether the parent is; `maps` is /proc/self/maps after the fork."""

    limits: Limits
    keep_fds: tuple[int, ...]
    keep_maps: tuple[tuple[int, int], ...]
    parent: int
    root: bool
    maps: bytes = b""


def group(plan: Plan) -> None:
    """A process group of its own. Not a session: that is a scheduling group as well, which costs a millisecond and
    sets the worker apart from the parent that waits for it; the terminal is out of reach without descriptors."""
    os.setpgid(0, 0)


def descriptors(plan: Plan) -> None:
    """Close everything but the pipe; printing goes nowhere. The parent's buffers are kept, so that none is flushed."""
    _BUFFERS.extend((sys.stdin, sys.stdout, sys.stderr))
    sys.stdin = sys.stdout = sys.stderr = None  # type: ignore[assignment]
    first = 0
    for kept in sorted(plan.keep_fds):
        os.closerange(first, kept)
        first = kept + 1
    try:
        linux.syscall(_CLOSE_RANGE, "close_range", first, 0xFFFFFFFF, 0)
    except OSError:  # before Linux 5.9, or another system
        os.closerange(first, os.sysconf("SC_OPEN_MAX"))


def environment(plan: Plan) -> None:
    """Empty the environment, and blank the strings themselves, which an address would still find."""
    if linux.LIBC is not None:
        with open("/proc/self/stat", "rb") as file:
            start, end = map(int, file.read().rpartition(b")")[2].split()[47:49])
        entries = ctypes.POINTER(ctypes.c_void_p).in_dll(linux.LIBC, "environ")
        place = 0
        while entries and (address := entries[place]):
            if not start <= address < end:  # set later than the program's start: elsewhere
                ctypes.memset(address, 0, len(ctypes.string_at(address)))
            place += 1
        ctypes.memset(start, 0, end - start)
        linux.LIBC.clearenv()
    os.environ.clear()


def mappings(plan: Plan) -> None:
    """Unmap memory shared with other processes, but for what was passed explicitly."""
    if linux.LIBC is None or not plan.maps:
        raise OSError("mappings: needs Linux with /proc")
    for line in plan.maps.split(b"\n"):
        span, _, rest = line.partition(b" ")
        if rest[3:4] != b"s":  # p: private, a copy of the child's own
            continue
        low, high = (int(x, 16) for x in span.split(b"-"))
        if not any(low < b and a < high for a, b in plan.keep_maps):
            linux.check(linux.LIBC.munmap(ctypes.c_void_p(low), ctypes.c_size_t(high - low)), "munmap")


def namespace(plan: Plan) -> None:
    """An empty network; needs no rights where the kernel lets users make user namespaces."""
    if not plan.limits.namespace and linux.abi() >= 4:
        raise OSError("not asked for: landlock and seccomp close the network (Limits.namespace adds it)")
    # Root makes no user namespace: in one without a mapping it could not change its user, yet would stay root outside.
    user_namespace = 0 if plan.root else linux.CLONE_NEWUSER
    linux.unshare(user_namespace | linux.CLONE_NEWNET | linux.CLONE_NEWIPC)


def no_new_privs(plan: Plan) -> None:
    """No execution can add rights. Landlock and seccomp need it."""
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1, "no_new_privs")


def rlimits(plan: Plan) -> None:
    """Address space relative to what is mapped now, processor time, and none of the rest."""
    if resource is None:
        raise OSError("rlimits: not on this system")
    limits = plan.limits
    values = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_NOFILE: _NEW_FILES,
        resource.RLIMIT_CPU: limits.cpu_s,
        resource.RLIMIT_AS: _mapped() + (limits.memory_mib << 20),
    }
    for what, soft in values.items():
        most = resource.getrlimit(what)[1]
        # The soft limit's SIGXCPU can be ignored; one second later the hard one's SIGKILL cannot.
        hard = soft + 1 if what == resource.RLIMIT_CPU else soft
        hard = hard if most == resource.RLIM_INFINITY else min(hard, most)
        resource.setrlimit(what, (min(soft, hard), hard))


def _mapped() -> int:
    """Bytes of address space in use now."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def user(plan: Plan) -> None:
    """From root to a user that owns nothing, another for each worker where it is mapped. Others stay as they are."""
    if plan.root:
        first, count = _USERS
        for number in (first + os.getpid() % count, _NOBODY):
            with contextlib.suppress(OSError):
                os.setgroups([])
                os.setresgid(number, number, number)
                os.setresuid(number, number, number)
                break
        else:
            raise PermissionError("root may not change its user here (a container without CAP_SETUID?)")
    linux.drop_capabilities()


def tether(plan: Plan) -> None:
    """Die with the parent; not to be traced. After `user`, which resets both."""
    linux.prctl(linux.PR_SET_DUMPABLE, 0, "dumpable")
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL, "parent-death signal")
    if os.getppid() != plan.parent:
        os._exit(1)


# Order matters: rlimits after the libraries are loaded and before the user loses the right to none of them;
# namespace while there are rights; tether after user; landlock and seccomp last, since they deny what others need.
ORDER: tuple[tuple[str, Callable[[Plan], None]], ...] = (
    ("group", group),
    ("descriptors", descriptors),
    ("environment", environment),
    ("mappings", mappings),
    ("namespace", namespace),
    ("no_new_privs", no_new_privs),
    ("rlimits", rlimits),
    ("user", user),
    ("tether", tether),
    ("landlock", lambda plan: linux.forbid_paths()),
    ("seccomp", lambda plan: linux.filter_calls()),
)
NAMES = tuple(name for name, _ in ORDER)


def harden(plan: Plan) -> dict[str, str]:
    """Put on every layer; for each its name and "" when it is active, else why it is not."""
    report: dict[str, str] = {}
    for name, put_on in ORDER:
        if name in plan.limits.skip:
            report[name] = "left out (Limits.skip)"
            continue
        try:
            put_on(plan)
            report[name] = ""
        except (OSError, ValueError, AttributeError) as error:
            report[name] = f"{error}" or type(error).__name__
    return report


def missing(report: Mapping[str, str]) -> list[str]:
    """What `require_isolation` wants and the report lacks. Of landlock and namespace, one is enough."""
    either = ("landlock", "namespace")
    lacks = [f"{name} ({why})" for name, why in report.items() if why and name not in either]
    if all(report.get(name, "?") for name in either):
        lacks += [f"{name} ({report.get(name, '?')})" for name in either]
    return lacks
