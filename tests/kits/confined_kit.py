"""What the tests of confined play share: attacks written into generated code, below the compiler. Holds no test."""

from __future__ import annotations

from logic.language.artifact import Artifact, Function, Part, freeze
from logic.sandbox import Limits
from logic.sandbox.controller import ConfinedController, reply_of
from perception.scene import Scene
from tests.kits.compiler_kit import SCHEMA, SPACE

REASON = "fine"
CODE = "# here"
# Generated code has no builtins; code that got out of the language would fetch them the way this does.
PRELUDE = (
    """
B = abs.__self__
os, sys, time, mmap = (B.__import__(n) for n in ("os", "sys", "time", "mmap"))
channel = B.__import__("logic.sandbox.channel", None, None, ("HEAD",))

SIZE = """
    + str(reply_of(SPACE).size)
    + """

def record(size, status=channel.Status.OK, sequence=3, body=b""):
    return channel.HEAD.pack(channel.MAGIC, channel.VERSION, status, sequence, size) + body

def pipe():
    frame = sys._getframe()
    while "writing" not in frame.f_locals:
        frame = frame.f_back
    return frame.f_locals["writing"]

def say(data):
    os.write(pipe(), data)
    time.sleep(1000)

def step(scene, memory):
    memory.n += 1
    if not scene.ball.seen:
        return 3, "fine"
    # here
    return 3, "fine"
"""
)
PATIENT = Limits(wall_s=60.0)
HASTY = Limits(wall_s=0.5)
ONE_SECOND = Limits(wall_s=60.0, cpu_s=1)
# name: code, the outcome's class, a word of its detail, limits
ATTACKS: dict[str, tuple[str, str, str, Limits]] = {
    "fork": ("os.fork()", "killed(syscall)", "not allowed", PATIENT),
    "exec": ("os.execv('/bin/true', ['true'])", "killed(syscall)", "not allowed", PATIENT),
    "socket": ("B.__import__('_socket').socket(2, 1, 0)", "killed(syscall)", "not allowed", PATIENT),
    "open for read": ("os.open('/etc/hostname', 0)", "killed(syscall)", "not allowed", PATIENT),
    "open for write": ("os.open('/tmp/confined-was-here', 0o101)", "killed(syscall)", "not allowed", PATIENT),
    "20 descriptors": ("[os.dup(0) for i in range(20)]", "killed(syscall)", "not allowed", PATIENT),
    "1 GiB": ("memory.all = B.bytearray(1 << 30)", "killed(memory)", "MemoryError", PATIENT),
    "1 GiB of numpy": ("memory.all = full((1 << 28,), 1.0, F)", "killed(memory)", "allocate", PATIENT),
    "endless C loop": ("B.sum(range(10 ** 12))", "killed(cpu)", "processor time", ONE_SECOND),
    "hang": ("time.sleep(1000)", "killed(cpu)", "no answer within", HASTY),
    "reply too long": ("say(record(SIZE + 9, body=b'x' * 999))", "protocol", "bytes", PATIENT),
    "reply too short": ("say(record(5, body=b'short'))", "protocol", "5 bytes", PATIENT),
    "half a reply": ("say(record(SIZE, body=b'x'))", "killed(cpu)", "no answer within", HASTY),
    "garbage": ("say(b'\\xff' * 400)", "protocol", "not a record", PATIENT),
    "an old reply": ("say(record(0, sequence=1))", "protocol", "record 1", PATIENT),
    "killed in mid reply": (
        "os.write(pipe(), record(SIZE)[:7]); os.open('/', 0)", "killed(syscall)", "not allowed", PATIENT,
    ),
    "SIGABRT in mid reply": ("os.write(pipe(), record(SIZE)[:7]); os.abort()", "fault", "SIGABRT", PATIENT),
    "leaves in mid reply": ("os.write(pipe(), b'T'); os._exit(0)", "protocol", "exit code 0", PATIENT),
    "SystemExit": ("raise B.SystemExit(0)", "fault", "SystemExit", PATIENT),
    "out of fuel": (
        "raise B.__import__('logic.sandbox', None, None, ('OutOfFuel',)).OutOfFuel('100 operations')",
        "fuel", "100 operations", PATIENT,
    ),
    "no such action": ("return 4, 'fine'", "protocol", "no compiled policy", PATIENT),
    "a huge action": ("return 10 ** 9, 'fine'", "fault", "Error", PATIENT),
    "text for an action": ("return 'LEFT', 'fine'", "fault", "Error", PATIENT),
    "a forged reason": ("say(record(SIZE, body=b'\\3\\3\\1'.ljust(SIZE, b'\\0')))", "protocol", "", PATIENT),
    "a forged rule": ("say(record(SIZE, body=(b'\\3\\3' + B.bytes(9) + b'\\1').ljust(SIZE, b'\\0')))",
                      "protocol", "no compiled policy", PATIENT),
}  # fmt: skip


def artifact(code: str) -> bytes:
    """A policy that does as it should until it sees the ball, and then runs `code`."""
    return freeze(
        Artifact({REASON: (1,)}, Part("policy.py", {"n": 0}, (Function("act", PRELUDE.replace(CODE, code), {}),)))
    )


def hostile(code: str, limits: Limits) -> ConfinedController:
    """Plays it, without rules."""
    return ConfinedController(artifact(code), SCHEMA, SPACE, 0, limits=limits)


def scene(seen: bool) -> Scene:
    """With or without the ball."""
    vector = SCHEMA.empty()
    vector[0] = seen
    return SCHEMA.read(vector)
