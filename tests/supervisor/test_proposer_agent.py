"""The agent proposer: its workspace, its answers, and that nothing of its processes outlives its time."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from improve_kit import ROOT_POLICY, Place, answer, constant, improve, verdicts

from perception.scene import SceneSchema
from supervisor.budget import UNKNOWN
from supervisor.edits.difference import NoEdit, changes_between
from supervisor.edits.edits import Edit, apply
from supervisor.errors import SupervisorError
from supervisor.proposers import agent as agents
from supervisor.proposers import process_tree, workspace
from supervisor.proposers.agent import OUTPUT_BYTES, AgentProposer
from supervisor.protocols import Image, ProposerError, Request, Section, Waiting

WORDS = {k: v for k, v in json.loads(answer([])).items() if k != "edit"}
REQUEST = Request(
    "fake", 1, ROOT_POLICY, (Section("Failures", "it fell"),), (Image("failure-1.png", "image/png", b"x"),)
)
MARK = f"triune-test-mark-{os.getpid()}"


def agent(tmp_path: Path, code: str, limit: float = 20.0, keep: tuple[str, ...] = ()) -> AgentProposer:
    """A command that runs `code` with this Python."""
    script = tmp_path / "agent.py"
    script.write_text(textwrap.dedent(code))
    return AgentProposer(tmp_path / "ws", tmp_path, [sys.executable, str(script)], limit, keep)


ANSWERS = f"""
    import json
    text = open("policy.py").read().replace("SKILL = 10", "SKILL = 30")
    open("policy.py", "w").write(text)
    json.dump({WORDS!r}, open("answer.json", "w"))
"""


def test_the_edit_is_what_differs_in_policy_py(tmp_path: Path) -> None:
    reply = agent(tmp_path, ANSWERS).propose(REQUEST)
    told = json.loads(reply.text)
    assert told["edit"] == [{"replace": "SKILL", "code": "SKILL = 30"}] and told["hypothesis"] == WORDS["hypothesis"]
    assert reply.usage.tokens == reply.usage.usd == UNKNOWN, "never taken for nothing"


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_an_editor_may_end_lines_as_it_likes(tmp_path: Path, end: str) -> None:
    code = ANSWERS + f"    open('policy.py', 'wb').write('\\ufeff'.encode() + text.replace('\\n', {end!r}).encode())\n"
    assert json.loads(agent(tmp_path, code).propose(REQUEST).text)["edit"] == [
        {"replace": "SKILL", "code": "SKILL = 30"}
    ]


def test_the_workspace_holds_what_is_needed(tmp_path: Path) -> None:
    folder = tmp_path / "w"
    workspace.prepare(folder, REQUEST, tmp_path)
    assert (folder / "policy.py").read_text() == ROOT_POLICY
    assert "it fell" in (folder / "EVIDENCE.md").read_text() and (folder / "failure-1.png").read_bytes() == b"x"
    assert "policy language" in (folder / "LANGUAGE.md").read_text().lower()
    assert "answer.json" in (folder / "ANSWER.md").read_text() and os.access(folder / "check", os.X_OK)
    example = (folder / "ANSWER.md").read_text().split("\n\n    {")[1].split("}\n\n")[0]
    assert set(json.loads("{" + example + "}")) == set(WORDS)


def test_check_tells_what_is_wrong(tmp_path: Path) -> None:
    task = Path(__file__).parents[2] / "zoo" / "breakout"
    policy = 'def act(scene, memory):\n    import os\n    return NOOP, "x"\n'
    workspace.prepare(tmp_path / "w", Request("breakout", 1, policy), task)
    done = subprocess.run([tmp_path / "w" / "check", "--json"], capture_output=True, text=True, cwd="/")
    assert done.returncode == 1 and json.loads(done.stdout)["diagnostics"][0]["line"] == 2, done.stderr


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "thesis.txt").write_text("mine")
    with pytest.raises(SupervisorError, match="not empty"):
        workspace.prepare(tmp_path / "w", REQUEST, tmp_path)
    assert (tmp_path / "w" / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("open('answer.json', 'w').write('{')", "not JSON"),
        ("open('answer.json', 'w').write('[]')", "not an object"),
        ("open('answer.json', 'w').write('{\"edit\": [1]}')", "change policy.py instead"),
        ("open('answer.json', 'w').write(' ' * 500_000)", "more than"),
        ("open('answer.json', 'w').write('{}'); open('policy.py', 'w').write('def (')", "cannot be read"),
        ("open('answer.json', 'w').write('{}'); open('policy.py', 'wb').write(b'\\xff')", "UTF-8"),
        ("import os; os.mkfifo('answer.json')", "not a plain file"),
        ("import os; os.symlink('/etc/passwd', 'answer.json')", "answer.json"),
    ],
)
def test_an_answer_that_is_none_says_why(tmp_path: Path, code: str, said: str) -> None:
    with pytest.raises(ProposerError, match=said) as caught:
        agent(tmp_path, code).propose(REQUEST)
    assert not caught.value.fatal


@pytest.mark.parametrize(("code", "said"), [
    ("pass", "exit code 0; answer.json: No such file"), ("raise SystemExit(3)", "exit code 3"),
    ("import os; os.kill(os.getpid(), 9)", "exit code -9"), ("import time; time.sleep(60)", "ran out of time"),
])  # fmt: skip
def test_no_answer_stops_the_run(tmp_path: Path, code: str, said: str) -> None:
    with pytest.raises(ProposerError, match=said) as caught:
        agent(tmp_path, code, limit=0.5 if "sleep" in code else 20.0).propose(REQUEST)
    assert caught.value.fatal


def test_a_command_that_is_not_there_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(ProposerError, match="cannot be run") as caught:
        AgentProposer(tmp_path / "ws", tmp_path, "no-such-agent --now").propose(REQUEST)
    assert caught.value.fatal


# --- processes


def alive(mark: str) -> list[str]:
    """Command lines of living processes that hold the mark."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            state = (path / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if mark in line and state != "Z":
            found.append(line)
    return found


DAEMONS = f"""
    import os, subprocess, sys, time
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    sleeper = [sys.executable, "-c", stubborn]
    subprocess.Popen([*sleeper, "{MARK}"])
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            subprocess.Popen([*sleeper, "{MARK}"], start_new_session=True)
            os._exit(0)
        os._exit(0)
    print("ready", flush=True)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="daemons can be followed on Linux only")
def test_daemons_die_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(ProposerError, match="exit code 0"):
        agent(tmp_path, DAEMONS + "    time.sleep(0.5)\n").propose(REQUEST)
    assert not alive(MARK)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="daemons can be followed on Linux only")
def test_everything_dies_when_time_is_up(tmp_path: Path) -> None:
    with pytest.raises(ProposerError, match="ran out of time"):
        agent(tmp_path, DAEMONS + "    time.sleep(600)\n", limit=1.5).propose(REQUEST)
    assert (tmp_path / "ws" / "trial-001" / "output.txt").read_text() == "ready\n"
    assert not alive(MARK)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="daemons can be followed on Linux only")
def test_everything_dies_with_the_run(tmp_path: Path) -> None:
    """Not even `kill -9` of the run leaves the agent at work."""
    script = tmp_path / "agent.py"
    script.write_text(textwrap.dedent(DAEMONS + "    time.sleep(600)\n"))
    here = Path(__file__).parent
    run = f"""
import sys; sys.path[:0] = {[str(here), str(here.parent / "kits"), str(here.parents[1])]!r}
from pathlib import Path
from test_proposer_agent import AgentProposer, REQUEST
AgentProposer(Path({str(tmp_path / "ws")!r}), Path("/"), [sys.executable, {str(script)!r}], 600).propose(REQUEST)
"""
    process = subprocess.Popen([sys.executable, "-c", run])
    output = tmp_path / "ws" / "trial-001" / "output.txt"
    wait(lambda: output.is_file() and output.read_text() == "ready\n")
    assert alive(MARK), "the test looks at the right processes"
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait(lambda: not alive(MARK))


ESCAPES = {
    "kill": "os.kill(os.getppid(), signal.SIGKILL)",
    "kill from another session": "os.setsid() if os.getpid() != os.getsid(0) else 0; os.kill(os.getppid(), 9)",
    "kill the group": "os.killpg(os.getpgid(os.getppid()), signal.SIGKILL)",
    "terminate": "os.kill(os.getppid(), signal.SIGTERM)",
    "stop": "os.kill(os.getppid(), signal.SIGSTOP)",
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="daemons can be followed on Linux only")
@pytest.mark.parametrize("how", ESCAPES)
def test_nothing_outlives_a_guard_that_was_ended(tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a kernel that lets the command signal its guard."""
    text = Path(process_tree.__file__).read_text()
    (tmp_path / "guard.py").write_text(text.replace("preexec_fn=set_apart", "preexec_fn=None"))
    monkeypatch.setattr(process_tree, "__file__", str(tmp_path / "guard.py"))
    monkeypatch.setattr(agents, "GRACE", 0.3)
    code = f"{DAEMONS}    import signal\n    time.sleep(0.1)\n    {ESCAPES[how]}\n    time.sleep(600)\n"
    with pytest.raises(ProposerError) as caught:
        agent(tmp_path, code, limit=0.5 if how == "stop" else 20.0).propose(REQUEST)
    assert caught.value.fatal and not alive(MARK)


def test_other_children_of_the_run_live_on() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as mine:
        with process_tree.nothing_left():
            other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        assert mine.poll() is None
        other.communicate(b"")
        mine.communicate(b"\n")
    assert mine.returncode == 0


LOOKS = """
    import os, json, signal
    found = {}
    def told(name, read):
        try:
            found[name] = str(read())[:99]
        except OSError as error:
            found[name] = type(error).__name__
    for pid in (PID, os.getppid(), MAIN):
        told(f"{pid} environ", lambda: open(f"/proc/{pid}/environ").read())
        told(f"{pid} mem", lambda: open(f"/proc/{pid}/mem", "rb"))
        told(f"{pid} maps", lambda: open(f"/proc/{pid}/maps").read())
        told(f"{pid} fd", lambda: os.readlink(f"/proc/{pid}/fd/0"))
        told(f"{pid} cwd", lambda: os.readlink(f"/proc/{pid}/cwd"))
        told(f"{pid} signal", lambda: os.kill(pid, 0))
    os.makedirs("a/b"), os.rename("check", "a/b/check")
    json.dump(found, open("found.json", "w"))
"""


@pytest.mark.skipif(process_tree.landlock() < 6, reason="needs landlock of Linux 6.12")
def test_the_command_sees_and_signals_no_process_but_its_own(tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "OPENAI_API_KEY": "sk-of-a-shell-above"}
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=env) as other:
        wait(lambda: "sk-of-a-shell" in Path(f"/proc/{other.pid}/environ").read_text())
        with pytest.raises(ProposerError, match="exit code 0"):
            agent(tmp_path, LOOKS.replace("PID", str(other.pid)).replace("MAIN", str(os.getpid()))).propose(REQUEST)
        other.communicate(b"\n")
    found = json.loads((tmp_path / "ws" / "trial-001" / "found.json").read_text())
    assert len(found) == 18 and set(found.values()) == {"PermissionError"}, found


@pytest.mark.skipif(process_tree.landlock() < 2, reason="needs landlock of Linux 5.19")
@pytest.mark.parametrize("version", [1, 2, 5, 6])
def test_an_older_kernel_keeps_as_much_as_it_can(tmp_path: Path, version: int) -> None:
    probe = """
import os
def allowed(work):
    try:
        work()
    except PermissionError:
        return False
    return True
os.makedirs("a/b"), open("c", "w").close(), os.rename("c", "a/b/c")
above = os.getppid()
print(allowed(lambda: open(f"/proc/{above}/environ").read()), allowed(lambda: os.kill(above, 0)))
"""
    code = f"""
import os, sys
from supervisor.proposers import process_tree
process_tree.landlock = lambda: {version}
process_tree.set_apart()
os.execv(sys.executable, [sys.executable, "-c", {probe!r}])
"""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=env)
    told = done.stdout.split()
    assert told[1] == str(version < 6) and (version < 2 or told[0] == "False"), done


def wait(until: object, seconds: float = 30.0) -> None:
    limit = time.monotonic() + seconds
    while not until():  # type: ignore[operator]
        assert time.monotonic() < limit, "it never came true"
        time.sleep(0.02)


def test_output_is_kept_up_to_its_cap(tmp_path: Path) -> None:
    code = f"import sys; [sys.stdout.write('y' * 10_000) for _ in range({OUTPUT_BYTES // 10_000 + 50})]"
    with pytest.raises(ProposerError):
        agent(tmp_path, code).propose(REQUEST)
    assert (tmp_path / "ws" / "trial-001" / "output.txt").stat().st_size == OUTPUT_BYTES


@pytest.mark.parametrize("said", ["{key}", "x {key}\\n{key}", "{{'k': '{key}'}}", "{b64}"])
def test_what_it_prints_of_its_keys_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:  # fmt: skip
    key = "sk-test-0123456789"
    monkeypatch.setenv("AGENT_KEY", key)
    b64 = base64.b64encode(key.encode()).decode().rstrip("=")
    code = f"{ANSWERS}    print({said.format(key=key, b64=b64)!r}, 'e')\n"
    told = agent(tmp_path, code, keep=("AGENT_KEY",)).propose(REQUEST).turns[0]["output"]
    kept = (tmp_path / "ws" / "trial-001" / "output.txt").read_text()
    assert told == kept and "[secret]" in kept and not {key, b64} & set(kept.split()) and key not in kept


@pytest.mark.parametrize("how", ["os.mkfifo(o)", "os.symlink('/dev/zero', o)", "os.mkdir(o)", "os.symlink(o, o)", "0"])
def test_what_stands_in_the_place_of_the_output_is_not_read(tmp_path: Path, how: str) -> None:
    code = f"{ANSWERS}    import os\n    o = 'output.txt'\n    os.unlink(o), {how}\n"
    assert agent(tmp_path, code).propose(REQUEST).turns[0]["output"] == ""


def test_the_environment_is_reduced_to_what_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_API_KEY", "sk-abcdefgh")
    monkeypatch.setenv("AGENT_TOKEN", "tk-abcdefgh")
    code = "import os, json; open('env.json', 'w').write(json.dumps(dict(os.environ)))"
    with pytest.raises(ProposerError):
        agent(tmp_path, code, keep=("AGENT_TOKEN",)).propose(REQUEST)
    seen = json.loads((tmp_path / "ws" / "trial-001" / "env.json").read_text())
    assert seen["AGENT_TOKEN"] == "tk-abcdefgh" and "PATH" in seen and "SECRET_API_KEY" not in seen
    with pytest.raises(SupervisorError, match="no NO_SUCH_NAME"):
        agent(tmp_path, code, keep=("NO_SUCH_NAME",))


def test_below_finds_children_of_children() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    try:
        wait(lambda: len(process_tree.below(process.pid)) == 1)
        assert process.pid in process_tree.below(os.getpid())
    finally:
        process.communicate(b"\n")


# --- an answer that cannot be used is asked for again


MENDS = """
    import json, os
    turn = sum(name.startswith("output") for name in os.listdir("."))
    old = open("parent.py").read()
    text = {STATES}[min(turn, 3) - 1]
    open("policy.py", "w").write(old.replace("SKILL = 10", text))
    told = dict({WORDS})
    if turn == 1:
        assert not os.path.exists("REPAIR.md")
    else:
        print(open("REPAIR.md").read())
    json.dump(told, open("answer.json", "w"))
"""


def furnished(proposer: AgentProposer, seen: list[str]) -> AgentProposer:
    """With a compiler that refuses what is above 50."""
    from types import SimpleNamespace

    def compile(text: str) -> list[str]:
        seen.append(text)
        return ["line 3: SKILL is too large"] if "SKILL = 9" in text else []

    proposer.furniture = SimpleNamespace(  # type: ignore[assignment]
        compile=compile, rules=frozenset(), settings={}, episodes=lambda text, seeds: [], actions=None,
        schema=SceneSchema((0, 0, 1, 1), ()),
    )  # fmt: skip
    return proposer


@pytest.mark.parametrize(("states", "turns", "said"), [
    (["SKILL = 30"], 1, ""),
    (["SKILL = 99", "SKILL = 30"], 2, "line 3: SKILL is too large"),
    (["SKILL = = 3", "SKILL = 30"], 2, "policy.py cannot be read"),
    (["print(1)", "SKILL = 95", "SKILL = 30"], 3, "defines nothing"),
])  # fmt: skip
def test_an_agent_mends_what_is_unsound(tmp_path: Path, states: list[str], turns: int, said: str) -> None:
    states = [*states, *[states[-1]] * (3 - len(states))]
    seen: list[str] = []
    reply = furnished(agent(tmp_path, MENDS.format(STATES=states, WORDS=WORDS)), seen).propose(REQUEST)
    assert json.loads(reply.text)["edit"] == [{"replace": "SKILL", "code": "SKILL = 30"}]
    assert len(reply.turns) == turns and all(turn["exit"] == 0 for turn in reply.turns)
    if turns > 1:
        assert said in reply.turns[1]["output"] and "no failed idea" in reply.turns[1]["output"]
    assert len(seen[-1]) == len(ROOT_POLICY)


def test_repairs_come_to_an_end(tmp_path: Path) -> None:
    states = ["SKILL = 91", "SKILL = 92", "SKILL = 93"]
    reply = furnished(agent(tmp_path, MENDS.format(STATES=states, WORDS=WORDS)), []).propose(REQUEST)
    assert len(reply.turns) == 3 and "SKILL = 93" in reply.text, "the gate says what is wrong with it"


def test_an_agent_that_changes_nothing_is_not_asked_for_ever(tmp_path: Path) -> None:
    states = ["SKILL = 91"] * 3
    reply = furnished(agent(tmp_path, MENDS.format(STATES=states, WORDS=WORDS)), []).propose(REQUEST)
    assert len(reply.turns) == 2


# --- test drives at the run's expense


SPENDS = """
    import json, sys
    sys.path.insert(0, {ROOT!r})
    from pathlib import Path
    from supervisor.proposers import spending
    with spending.work(Path("."), "eval", 1, 70.0, 1) as work:
        work.game({{"policy": "p", "seed": 1, "frames": 60}})
    left = spending.read(Path(".")).left
    print("left", left)
"""


def test_what_the_workbench_spends_is_paid_by_the_run(tmp_path: Path) -> None:
    place, words = Place(tmp_path), SPENDS.format(ROOT=str(Path(__file__).parents[2]))
    proposer = furnished(agent(tmp_path, words + ANSWERS), [])
    ended = pay(place, proposer, trials=1, limits={"steps": 3000.0})
    received = [e.data for e in events(place) if e.kind == "proposal.received"]
    assert received[0]["budget"]["amounts"]["steps"] == 60.0 == received[0]["usage"]["frames"]
    assert proposer._allowed == {1: 300.0} and ended.budgets["steps"]["reserved"] == 0
    whole = sum(e.data.get("budget", {}).get("amounts", {}).get("steps", 0) for e in events(place))
    assert ended.budgets["steps"]["spent"] == whole


def test_an_agent_without_an_answer_pays_once_and_keeps_what_it_played(tmp_path: Path) -> None:
    place, words = Place(tmp_path), SPENDS.format(ROOT=str(Path(__file__).parents[2]))
    for turn in (1, 2):
        ended = pay(place, furnished(agent(tmp_path, words), []), trials=1, limits={"steps": 3000.0})
        assert ended.why == "proposer"
        failed = [e.data["budget"]["amounts"]["steps"] for e in events(place) if e.kind == "proposal.failed"]
        assert failed == [60.0] * turn
    assert len(workspace.spending.read(tmp_path / "ws" / "trial-001").games) == 2


def test_a_killed_run_pays_what_its_agent_had_played(tmp_path: Path) -> None:
    """The reservation is lost with the run; the frames are not."""
    place, words = Place(tmp_path), SPENDS.format(ROOT=str(Path(__file__).parents[2]))

    class Killed(AgentProposer):
        def _run(self, *what: object) -> dict[str, object]:
            super()._run(*what)  # type: ignore[arg-type]
            raise KeyboardInterrupt

    first = furnished(agent(tmp_path, words), [])
    first.__class__ = Killed
    with pytest.raises(KeyboardInterrupt):
        pay(place, first, trials=1, limits={"steps": 3000.0})
    pay(place, furnished(agent(tmp_path, words + ANSWERS), []), trials=1, limits={"steps": 3000.0})
    received = next(e.data for e in events(place) if e.kind == "proposal.received")
    assert received["budget"]["amounts"]["steps"] == 120.0


def pay(place: Place, proposer: AgentProposer, **more: object) -> object:
    """A run whose budgets the proposer knows."""
    from supervisor.loop import loop as loops

    begun = loops.Loop.__init__

    def attached(self: object, *what: object) -> None:
        begun(self, *what)  # type: ignore[misc, arg-type]
        meter = self.run_.meter  # type: ignore[attr-defined]
        proposer.attach(meter.log.events, meter.budgets)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loops.Loop, "__init__", attached)
        return improve(place.path / "run", place.folder, proposer, **more)  # type: ignore[arg-type]


def events(place: Place) -> list[object]:
    from supervisor.events import read

    return read(place.path / "run" / "events.jsonl")  # type: ignore[return-value]


# --- by hand


def test_a_person_answers_trial_by_trial(tmp_path: Path) -> None:
    place = Place(tmp_path)
    by_hand = AgentProposer(tmp_path / "ws", place.folder)
    ended = improve(place.path / "run", place.folder, by_hand, trials=2)
    assert ended.why == "waiting" and str(by_hand.folder(1)) in ended.detail
    (by_hand.folder(1) / "answer.json").write_text(json.dumps(WORDS))
    (by_hand.folder(1) / "policy.py").write_text(ROOT_POLICY.replace("SKILL = 10", "SKILL = 30"))
    ended = improve(place.path / "run", place.folder, by_hand, trials=2)
    assert verdicts(ended) == [("accept", "accept")] and ended.why == "waiting"
    assert (by_hand.folder(2) / "policy.py").read_text() == place.policy
    assert ended.budgets["tokens"]["unknown"] == 1


def test_a_broken_answer_by_hand_can_be_mended(tmp_path: Path) -> None:
    by_hand = AgentProposer(tmp_path / "ws", tmp_path)
    with pytest.raises(Waiting):
        by_hand.propose(REQUEST)
    (by_hand.folder(1) / "answer.json").write_text("{")
    with pytest.raises(Waiting, match="mend it"):
        by_hand.propose(REQUEST)
    assert (by_hand.folder(1) / "answer.json").read_text() == "{", "nothing that a person wrote is lost"


# --- the difference of two texts

OLD = '''"""A policy."""

from logic.lib.ball import fly

FAR = 3.0  # px
# how long
LONG = 4


class Memory:
    stuck: int = 0


def helper(x):
    return x + FAR


def act(scene, memory):
    return NOOP, "wait"
'''


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("FAR = 3.0  # px", "FAR = 5.0  # px", [("replace", "FAR")]),
        ("# how long\nLONG = 4", "# how long, in steps\nLONG = 4", [("replace", "LONG")]),
        ("stuck: int = 0", "stuck: int = 1", [("replace", "Memory")]),
        ("import fly", "import fly, passing", [("replace", "logic.lib.ball")]),
        ('"""A policy."""', '"""A better policy."""', [("replace", "__doc__")]),
        ("def helper(x):\n    return x + FAR\n\n\n", "", [("remove", "helper")]),
        ("def act", "def more(x):\n    return x\n\n\ndef act", [("add", "more")]),
        ("\n\n\ndef act", "\n\ndef act", []),
    ],
)
def test_a_difference_is_said_by_names(old: str, new: str, changes: list[tuple[str, str]]) -> None:
    assert old in OLD
    text = OLD.replace(old, new)
    found = changes_between(OLD, text)
    assert [next(iter(change.items())) for change in found] == changes
    if changes:
        assert apply(OLD, Edit.of(found)) == text


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("FAR = 3.0", "FAR = 3.0; LONG = 2", "shares a line"),
        ("LONG = 4", "LONG = 4\nLONG = 5", "twice"),
        ("LONG = 4", "LONG = 4\nprint(LONG)", "defines nothing"),
        ("LONG = 4", "LONG = = 4", "cannot be read"),
        ("\n", "\r\n", "carriage returns"),
    ],
)
def test_what_cannot_be_said_by_names_is_refused(old: str, new: str, said: str) -> None:
    with pytest.raises(NoEdit, match=said):
        changes_between(OLD, OLD.replace(old, new, 1))


def test_every_edit_comes_back_from_its_result() -> None:
    edit = [constant("SKILL", 30), {"add": "more", "code": "def more(x):\n    return x"}]
    assert changes_between(ROOT_POLICY, apply(ROOT_POLICY, edit)) == edit
