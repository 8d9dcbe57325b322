"""The made-up run's policy and the ideas tried on it, in order: what is said, what is changed, what it is worth."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

ROOT_LEVEL = 21.0
ROOT_POLICY = '''"""Breakout: move towards the ball."""

SLACK = tunable(0.0, 0.0, 20.0)  # px


class Memory:
    """What is remembered between steps."""

    waited: int = 0


def wanted(scene):
    """Where the paddle should be, px."""
    return scene.ball.x


def act(scene, memory):
    """Serve, then follow the ball."""
    if not scene.ball.seen:
        memory.waited += 1
        return FIRE, "serve"
    memory.waited = 0
    target = wanted(scene)
    if target > scene.paddle.x + SLACK:
        return RIGHT, "the ball is to the right"
    if target < scene.paddle.x - SLACK:
        return LEFT, "the ball is to the left"
    return NOOP, "under the ball"
'''
SLACK = {"replace": "SLACK", "code": "SLACK = tunable(4.0, 0.0, 20.0)  # px, half of what one step moves"}
LANDING = {
    "replace": "wanted",
    "code": '''def wanted(scene):
    """Where the ball comes down, px: a straight line, folded at the walls."""
    if scene.ball.vy <= 0.0:
        return 80.0
    x = scene.ball.x + scene.ball.vx * (188.0 - scene.ball.y) / scene.ball.vy
    if x < 8.0:
        x = 16.0 - x
    if x > 152.0:
        x = 304.0 - x
    return clip(x, 8.0, 152.0)''',
}
SERVE = {"replace": "Memory", "code": 'class Memory:\n    """What is remembered."""\n\n    waited: int = 3'}
SIMPLER = [LANDING]


def _slack(value: float) -> dict[str, str]:
    return {"replace": "SLACK", "code": f"SLACK = tunable({value!r}, 0.0, 20.0)"}


@dataclass(frozen=True)
class Idea:
    """A proposal and its fate: `gain` and `spread` of the paired difference; the other fields stop it on its way."""

    hypothesis: str
    prediction: Any
    lesson: str
    changes: list[dict[str, str]]
    gain: float = 0.0
    spread: float = 5.0
    diagnosis: str = "The paddle arrives late in 61 % of the losses."
    target: str = "logic"
    compile: str = ""
    latency: float = 0.31
    breaks: bool = False
    duplicate: bool = False
    declines: str = ""  # the stage at which there is no budget for more seeds
    variant: float = 0.0  # gain of the simpler variant that is offered
    fades: float = 0.0  # gain that is gone on fresh seeds
    hard: float = 0.0
    fails: str = ""  # no answer came
    tried: int = 0  # settings that a search tried
    whole: str = ""  # the child's text, where no edit of the last policy makes it
    locks: list[str] = field(default_factory=list)

    def answer(self) -> dict[str, Any]:
        """As the proposer gave it."""
        return {
            "target": self.target, "diagnosis": self.diagnosis, "hypothesis": self.hypothesis,
            "prediction": self.prediction, "lesson": self.lesson, "changes": self.changes, "locks": self.locks,
            "data_requests": [],
        }  # fmt: skip


IDEAS = (
    Idea(
        "The paddle jitters under the ball: every step it is a pixel off, it moves. A dead zone of half a step keeps "
        "it still and in the middle.",
        "Fewer misses at the edge of the paddle: the mean rises by at least 4 points.",
        "Jitter is not what loses balls.", [SLACK], gain=6.5,
    ),
    Idea(
        "The target should be the landing point.", "The mean doubles.",
        "Name functions exactly as they stand in policy.py.", [{"replace": "wantedd", "code": LANDING["code"]}],
    ),
    Idea(
        "Remember where the last ball landed and wait there.", "Worst decile above 15.",
        "Lists that grow do not exist in the language; a fixed array does.",
        [{"replace": "wanted", "code": "def wanted(scene):\n    return scene.ball.x * 2.0 - 80.0"}],
        compile="line 14: `append` is no function of the language; write into a fixed array with put(...)",
    ),
    Idea(
        "Search every paddle position for the best one each step.", "Mean +10.",
        "A search over all positions costs 2.3 ms; look it up in a table instead.",
        [{"replace": "wanted", "code": "def wanted(scene):\n    return clip(scene.ball.x, 8.0, 152.0)"}], latency=2.31,
    ),
    Idea(
        "Serve only from the middle, so that the first return is easy.", "The first ball is never lost.",
        "The serve is locked: the first moves of a game stay as they are.",
        [{"replace": "wanted", "code": "def wanted(scene):\n    return 80.0"}], breaks=True,
    ),
    Idea(
        "Wait one step longer before serving.", "No effect on the mean, fewer wasted serves.",
        "Counting in memory changes nothing until something reads it.", [SERVE], duplicate=True,
    ),
    Idea(
        "Always keep to the left of the ball, because most returns go right.", "The right side empties first.",
        "Standing off-centre costs more than the better angle brings.",
        [{"replace": "wanted", "code": "def wanted(scene):\n    return scene.ball.x - 6.0"}], gain=-9.0,
    ),
    Idea(
        "A wider dead zone saves moves that the sticky controls would turn into overshoot.", "Mean +3.",
        "Beyond 4 px the dead zone costs as many balls as it saves.", [_slack(6.0)], gain=-0.6, spread=4.0,
    ),
    Idea("", "", "", [], fails="the endpoint did not answer within 120 s (3 tries)"),
    Idea(
        "Go to where the ball comes down instead of where it is: straight flight, folded at the side walls. While it "
        "rises, wait in the middle.",
        "Losses with the paddle more than 12 px away fall by half; the mean rises by 15 points or more.",
        "Prediction needs the wall bounces; without them it is worse than following.",
        [LANDING, SERVE], gain=19.0, spread=9.0, variant=19.5, locks=["lands-left-of-centre"],
    ),
    Idea(
        "Lead the ball by its speed.", "Mean +2.", "Velocities are per step, not per frame: scale them first.",
        [{"replace": "SLACK", "code": "SLACK = tunable(3.0, 0.0, 20.0)  # px"}], gain=2.0, spread=11.0,
        declines="probe",
    ),
    Idea(
        "Half a pixel more dead zone.", "Mean +1.", "Effects of a point cannot be told from luck on 60 seeds.",
        [_slack(4.5)], gain=1.2, spread=7.0,
    ),
    Idea(
        "Hit with the paddle's edge to send the ball to the side with more bricks.",
        "Bricks on the far side fall; mean +5, and more interventions of the edge rule are acceptable.",
        "Aiming with the edge trades safe returns for angle; it needs the landing point within 2 px.",
        [_slack(7.5)], gain=1.0, spread=4.0, hard=3.1,
    ),
    Idea(
        "Settings found by search on training seeds.", "SLACK near 2 is best.",
        "The best setting on three training seeds was luck.", [_slack(2.0)], gain=0.8, spread=5.0, tried=9,
        target="constants",
    ),
    Idea(
        "Below the bricks the ball is always slow: a narrower dead zone is enough there.", "Mean +8.",
        "A gain on one block of seeds can be luck; it did not show on the next.", [_slack(3.25)], gain=8.5, fades=9.5,
        spread=6.0,
    ),
    Idea(
        "When the ball is fast, skip the dead zone: it comes down before the second correction.",
        "Losses to fast balls fall from 9 to under 4 per game; mean at least 60.",
        "The dead zone does not matter once the ball is fast.", [_slack(1.25)], gain=13.0, spread=10.0,
    ),
)  # fmt: skip

BAD = '</style><script>document.title="owned";fetch("http://127.0.0.1:9/x")</script>'
MARKUP = "<img src=http://127.0.0.1:9/i onerror=\"document.title='owned'\">\"'><svg onload=alert(1)><b>&amp;"
UNSEEN = "\u202eright to left\u0000\u0007\ud800\u2028"
HOSTILE = (
    Idea(
        f"{BAD}{MARKUP}{UNSEEN}", {"<script>": MARKUP, "mean": BAD}, f"]]>--><!--{BAD}{UNSEEN}",
        [{"replace": f"wanted{MARKUP}", "code": BAD}], diagnosis=MARKUP, target=BAD, locks=[BAD],
    ),
    Idea(
        f"javascript:alert(1) {MARKUP}", "x" * 30_000, "long" * 5_000, [SLACK], compile=f"line 1: {BAD}",
        whole=ROOT_POLICY + f"# {BAD}\n# {MARKUP}\r\n# \u202e\x00\n", diagnosis="a" * 9_000,
    ),
    Idea(f"{{{{7*7}}}} ${{x}} {BAD}", MARKUP, BAD, [SLACK], gain=6.5, locks=[MARKUP]),
    Idea(BAD, MARKUP, MARKUP, [], fails=f"{BAD}{MARKUP}"),
)  # fmt: skip
