"""The rules of isolation that need no process: the filter's program, wait statuses, landlock's structure, deadlines."""

from __future__ import annotations

import os
import select
import signal
import sys
import time

import pytest

from logic.sandbox import Limits, channel, linux
from logic.sandbox.worker import classify

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the layers are Linux's")


def run_filter(machine: str, number: int, arguments: tuple[int, ...] = (), audit: int | None = None) -> bool:
    """Interpret the program as the kernel would: whether the call is allowed."""
    code = linux.program(machine, pid=77)
    words = {0: number, 4: linux.AUDIT[machine] if audit is None else audit}
    words |= {16 + 8 * i: a & 0xFFFFFFFF for i, a in enumerate(arguments)}
    at = value = 0
    while True:
        what, yes, no, constant = code[at]
        at += 1
        if what == 0x06:
            return constant == 0x7FFF0000
        if what == 0x20:
            value = words.get(constant, 0)
        else:
            at += yes if (value == constant if what == 0x15 else value & constant) else no


@pytest.mark.parametrize("machine", linux.AUDIT)
def test_filter_allows_its_list_and_nothing_else(machine: str) -> None:
    column = list(linux.AUDIT).index(machine)
    plain = {pair[column] for pair in linux.ALLOWED.values()} - {None}
    partly = {pair[column] for pair in (*linux.WITHOUT_EXEC.values(), linux.ABORT)}
    assert {n for n in range(2000) if run_filter(machine, n, (0, 0, 4))} == plain
    for number in partly:
        assert number not in plain
    for pair in linux.WITHOUT_EXEC.values():
        assert run_filter(machine, pair[column], (0, 4096, 3))
        assert not run_filter(machine, pair[column], (0, 4096, 7))
    abort_call = linux.ABORT[column]
    assert run_filter(machine, abort_call, (77, 78, signal.SIGABRT))
    assert not run_filter(machine, abort_call, (78, 78, signal.SIGABRT))
    assert not run_filter(machine, abort_call, (77, 78, signal.SIGKILL))


def test_filter_refuses_other_machines_and_modes() -> None:
    assert run_filter("x86_64", 0)
    assert not run_filter("x86_64", 0, audit=0x40000003)  # i386
    assert not run_filter("x86_64", 0x40000000)  # x32
    assert not run_filter("aarch64", 63, audit=linux.AUDIT["x86_64"])


def test_wait_statuses_are_classified() -> None:
    def name(status: int, cpu: float = 0.0) -> str:
        kind, cause, _ = classify(status, cpu, Limits(cpu_s=3))
        return f"{kind.value}({cause.value})" if cause else kind.value

    assert name(signal.SIGSYS) == name(signal.SIGSYS | 0x80) == "killed(syscall)"
    assert name(signal.SIGXCPU) == name(signal.SIGKILL, 3.9) == "killed(cpu)"
    assert name(signal.SIGKILL) == "killed(outside)"
    assert name(signal.SIGSEGV) == name(signal.SIGBUS) == name(40) == "fault"
    assert name(0) == name(256) == "protocol"


def test_landlock_structure_follows_the_abi() -> None:
    sizes = [linux.attributes(v)[1] for v in range(1, 8)]
    assert sizes == [8, 8, 8, 16, 16, 24, 24]
    rights = [linux.attributes(v)[0].fs.bit_length() for v in range(1, 8)]
    assert rights == [13, 14, 15, 15, 16, 16, 16]


def test_poll_never_waits_for_ever() -> None:
    reading, writing = os.pipe()
    other, out = os.pipe()
    pipe = channel.Channel(reading, out)
    with pytest.raises(channel.Late):
        pipe.receive(1, 8, time.monotonic() - 5)
    with pytest.raises(channel.Late):
        pipe.expect_end(time.monotonic() - 5)
    os.close(writing)
    with pytest.raises(channel.Ended):
        pipe.receive(1, 8, time.monotonic() + 5)
    pipe.close()
    os.close(other)
    assert select.poll is not None
