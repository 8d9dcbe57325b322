"""What each command of the workbench takes, does and says."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from data_flywheel.episodes.episode import Episode
from data_flywheel.storage.files import atomic_write
from supervisor.edits.answer import problems
from supervisor.evidence.pictures import encode, sheet
from supervisor.gate.statistics import lower_bound, p_greater, upper_bound
from supervisor.proposers.workspace import ANSWER, GAMES, MOST_BYTES, PARENT, POLICY, Unusable, answer
from supervisor.proposers.workspace import read_text as read_plain
from triune.commands import check as checking
from triune.commands import common, explain
from triune.commands.workbench.bench import Bench, span
from triune.console import Console, table, told_score
from triune.errors import TriuneError, UsageError
from triune.play.evaluation import summary
from triune.system import sha256

SEEDS, PAIRS = "900:904", "900:908"
MOST_STEPS, MOST_PICTURES = 60, 12  # of explain, of one picture
LEVEL = 0.025  # at either end of the interval


def _add_play(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--policy", default=POLICY, metavar="FILE", help=f"a policy file of this folder ({POLICY})")
    parser.add_argument("--steps", type=common.positive, metavar="N", help="cut games short: a look, not a score")


# ----------------------------------------------------------------------------------------------------
# eval and compare: scores on training seeds.


def _eval_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", default=SEEDS, metavar="A:B", help=f"of 0-999, as 3, 1,5 or A:B (default {SEEDS})")
    _add_play(parser)


def _eval(bench: Bench, args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: `games`, figures, `bench` (frames left)."""
    seeds, text = bench.seeds(args.seeds), bench.text(args.policy)
    bench.play("eval", [text], seeds, args.steps, console)
    games = _games(bench, text, seeds)
    scores = [game["score"] for game in games]
    rows = [
        [str(g["seed"]), told_score(g["score"]), str(g["steps"]), g["end"], str(g["faults"]), _counts(g["reasons"])]
        for g in games
    ]  # fmt: skip
    console.say(table(rows, ["seed", "score", "steps", "end", "faults", "reasons"], {0, 1, 2, 4}))
    found = summary(scores)
    interval = f"   95 % interval {found['ci95'][0]:.2f} to {found['ci95'][1]:.2f}" if found["ci95"] else ""
    console.say(f"mean       {found['mean']:.2f}{interval}   {span(seeds)}, policy {args.policy}")
    for game in games:
        for fault, n in game["fault_texts"].items():
            console.say(f"fault      seed {game['seed']}: {n} x {fault}")
    if overruled := _sum(g["interventions"] for g in games):
        console.say(f"overruled  {_counts(overruled)}")
    _say_cut(games, console)
    console.say(bench.budget())
    return {"policy": args.policy, "games": games, **found, "bench": _left(bench)}


def _games(bench: Bench, text: str, seeds: Sequence[int]) -> list[dict[str, Any]]:
    known, policy = bench.known(), sha256(text)
    return [dict(known[policy, seed]) for seed in seeds]


def _sum(counts: Any) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in counts:
        for name, n in each.items():
            total[name] = total.get(name, 0) + n
    return total


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in sorted(counts.items(), key=lambda item: -item[1])[:5])


def _say_cut(games: Sequence[Mapping[str, Any]], console: Console) -> None:
    cut = sum(game["end"] == "cut here" for game in games)
    if cut:
        console.say(f"cut here   {cut} {'game was' if cut == 1 else 'games were'} cut short: these are not scores")


def _left(bench: Bench) -> dict[str, float]:
    spent = bench.spent()
    return {"allowance": spent.allowance, "spent": spent.frames, "left": spent.left}


def _compare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("old", nargs="?", default=PARENT, metavar="OLD", help=f"a policy file here (default {PARENT})")
    parser.add_argument("new", nargs="?", default=POLICY, metavar="NEW", help=f"another one (default {POLICY})")
    parser.add_argument("--seeds", default=PAIRS, metavar="A:B", help=f"of 0-999, as 3, 1,5 or A:B (default {PAIRS})")
    parser.add_argument("--steps", type=common.positive, metavar="N", help="cut games short: a look, not a score")


def _compare(bench: Bench, args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: `pairs` (seed, old, new), `difference`, `interval`, `p`, `bench`. Interval and p are the gate's, from
    the sign-flip test."""
    seeds, texts = bench.seeds(args.seeds), [bench.text(args.old), bench.text(args.new)]
    if texts[0] == texts[1]:
        raise UsageError(f"{args.old} and {args.new} hold the same text; there is nothing to compare")
    bench.play("compare", texts, seeds, args.steps, console)
    old, new = (_games(bench, text, seeds) for text in texts)
    differences = [float(n["score"] - o["score"]) for o, n in zip(old, new, strict=True)]
    rows = [
        [str(o["seed"]), told_score(o["score"]), told_score(n["score"]), f"{d:+.6g}", str(o["steps"]), str(n["steps"]),
         n["end"]]
        for o, n, d in zip(old, new, differences, strict=True)
    ]  # fmt: skip
    head = ["seed", "old", "new", "difference", "old steps", "new steps", "new end"]
    console.say(table(rows, head, set(range(6))))
    mean = float(np.mean(differences))
    low, high = lower_bound(differences, LEVEL), upper_bound(differences, LEVEL)
    known = math.isfinite(low) and math.isfinite(high)
    between = f"95 % interval {low:+.2f} to {high:+.2f}" if known else "too few games for an interval (6 at least)"
    console.say(f"difference {mean:+.2f}   {between}   {span(seeds)}")
    console.say(f"so far     {_word(differences, low, high)}; the gate judges on other seeds")
    _say_cut([*old, *new], console)
    console.say(bench.budget())
    pairs = [{"seed": s, "old": o["score"], "new": n["score"]} for s, o, n in zip(seeds, old, new, strict=True)]
    return {
        "old": args.old, "new": args.new, "pairs": pairs, "difference": mean,
        "interval": [low, high] if known else None, "p": p_greater(differences), "bench": _left(bench),
    }  # fmt: skip


def _word(differences: Sequence[float], low: float, high: float) -> str:
    if not any(differences):
        return "no difference in any game"
    if low > 0:
        return "better, beyond chance"
    if high < 0:
        return "worse, beyond chance"
    return "it may be chance"


# ----------------------------------------------------------------------------------------------------
# play, explain, watch: single games.


def _play_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", default="900", metavar="N", help="of 0-999 (default 900)")
    parser.add_argument("--replay", action="store_true", help="write replay.webp too, which moves")
    _add_play(parser)


def _play(bench: Bench, args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: `game` (its name), `score`, `steps`, `files`, `bench`."""
    seeds, text = bench.seeds(args.seed), bench.text(args.policy)
    if len(seeds) != 1:
        raise UsageError("./play records one game; for several seeds use ./eval --seeds")
    name, episode = bench.record(text, seeds[0], args.steps, console)
    here = bench.folder / GAMES / name
    steps = np.unique(np.linspace(0, len(episode) - 1, MOST_PICTURES).astype(int)).tolist()
    atomic_write(here / "sheet.png", _sheet(bench, name, episode, text, steps))
    if args.replay:
        from triune.report.replay import write_replay

        write_replay(bench.evaluator.player(text), episode, here / "replay.webp", console)
    files = sorted(str(path.relative_to(bench.folder)) for path in here.iterdir())
    console.say(f"game       {name}: seed {seeds[0]}, score {told_score(episode.meta['score'])}, {len(episode)} steps")
    console.say(f"reasons    {_counts(episode.reason_counts())}")
    losses = episode.losses()
    if losses:
        console.say(f"lost at    step {', '.join(map(str, losses[:10]))}{' ...' if len(losses) > 10 else ''}")
    console.say(f"files      {', '.join(files)}")
    console.say(f"           why: ./explain {name} --step N   pictures: ./watch {name} --steps A:B")
    console.say(bench.budget())
    told = {"game": name, "seed": seeds[0], "score": episode.meta["score"], "steps": len(episode), "files": files}
    return told | {"losses": losses[:100], "bench": _left(bench)}


def _sheet(bench: Bench, name: str, episode: Episode, text: str, steps: Sequence[int]) -> bytes:
    from triune.play.loop import frames_of

    wanted = set(steps)
    if not wanted:
        raise TriuneError(f"{name} has no steps to show")
    drawn = enumerate(frames_of(bench.evaluator.player(text), episode, max(wanted)))
    kept = {i: frame.copy() for i, frame in drawn if i in wanted}
    title = f"{name}, seed {episode.meta['seed']}, score {told_score(episode.meta['score'])}, {len(episode)} steps"
    frames = [kept[i] for i in steps]
    return sheet(title, episode, steps, frames, bench.system.schema, bench.system.spec.env.actions)


def _add_game(parser: argparse.ArgumentParser) -> None:
    told = "a folder under games/ (default: your newest game, or the parent's worst)"
    parser.add_argument("game", nargs="?", metavar="GAME", help=told)
    parser.add_argument("--step", type=int, metavar="N", help="one step, in full")
    parser.add_argument("--steps", metavar="A:B", help="several steps, B not included; A:B:EVERY")


def _steps(text: str, length: int, most: int, what: str) -> list[int]:
    """A, A:B or A:B:EVERY within a game of so many steps."""
    try:
        numbers = [int(part) for part in text.split(":")]
        found = list(range(*numbers)) if len(numbers) > 1 else numbers
    except (ValueError, TypeError):
        raise UsageError(f"steps are written 100:130 or 100:200:10; got {text!r}") from None
    if not found or found[0] < 0 or found[-1] >= length:
        raise UsageError(f"steps {text} are not all in this game: it has 0 to {length - 1}")
    if len(found) > most:
        raise UsageError(f"{len(found)} steps are too many for {what}, at most {most}; take every 2nd, say: A:B:2")
    return found


def _explain(bench: Bench, args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: of --step that of `triune explain`; of --steps `steps`, a list of what was seen, said and done."""
    name, episode, text = bench.game(args.game)
    system = bench.evaluator.player(text)
    if args.steps is not None and args.step is None:
        steps = _steps(args.steps, len(episode), MOST_STEPS, "./explain")
        rows = [explain.neighbour(system, episode, i) for i in steps]
        things = list(rows[0]["things"])
        console.say(f"{name}   seed {episode.meta['seed']}   {len(episode)} steps")
        cells = [explain.row(n, things, -1)[1:] for n in rows]
        console.say(table(cells, ["step", "action", "score", *things, "reason"]))
        return {"game": name, "steps": rows}
    step = explain.worst_step(episode) if args.step is None else args.step
    if not 0 <= step < len(episode):
        raise UsageError(f"step {step} is outside this game: 0 to {len(episode) - 1}")
    payload = explain.explain(system, episode, step) | explain.trace(system, episode, step, False)
    explain.show(payload, console)
    return payload | {"game": name}


def _watch(bench: Bench, args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: `picture` (its path from the workspace), `steps`."""
    name, episode, text = bench.game(args.game)
    last = len(episode) - 1
    if args.step is not None:
        steps = _steps(str(args.step), len(episode), 1, "one picture")
    else:
        steps = _steps(args.steps or f"{max(0, last - 11)}:{last + 1}", len(episode), MOST_PICTURES, "one picture")
    folder = bench.folder / "pictures"
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{steps[0]}-{steps[-1]}.png"
    one = args.step is not None
    atomic_write(path, _large(bench, episode, text, steps[0]) if one else _sheet(bench, name, episode, text, steps))
    told = str(path.relative_to(bench.folder))
    console.say(f"picture    {told}: {name}, {'step' if len(steps) == 1 else 'steps'} {', '.join(map(str, steps))}")
    return {"picture": told, "game": name, "steps": steps}


def _large(bench: Bench, episode: Episode, text: str, step: int) -> bytes:
    """One step with everything drawn on."""
    from triune.report.drawing import Painter
    from triune.report.replay import pictures

    painter = Painter(bench.system.schema, bench.system.spec.env.actions)
    return encode(next(iter(pictures(bench.evaluator.player(text), episode, [step], painter))))


# ----------------------------------------------------------------------------------------------------
# check and submit: is it sound, and is it an answer?


def _check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("policy", nargs="?", default=POLICY, metavar="FILE", help=f"a policy file here ({POLICY})")


def _check(bench: Bench, args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: that of `triune check FILE`, and `answer`: what is wrong with answer.json, None without one."""
    bench.text(args.policy)  # a plain file of this folder
    words = {"task": str(bench.folder / args.policy), "of": bench.settings["task"], "safety": False, "floors": False}
    payload = checking.run(argparse.Namespace(**words), console)
    payload["answer"] = None
    if (bench.folder / ANSWER).exists():
        payload["answer"] = _defects(bench)
        console.say(f"{ANSWER}: {'; '.join(payload['answer']) or 'can be used'}")
        payload["exit_code"] = payload["exit_code"] or int(bool(payload["answer"]))
    return payload


def _defects(bench: Bench) -> list[str]:
    """What keeps answer.json and policy.py from making a revision."""
    parent = bench.text(PARENT)
    try:
        return [str(defect) for defect in problems(answer(bench.folder, parent), parent)]
    except Unusable as error:
        return [str(error)]


def _submit(bench: Bench, args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: `answer`, the file that was written."""
    try:
        told = json.loads(sys.stdin.read(MOST_BYTES))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the answer is no JSON ({str(error)[:100]}); see ANSWER.md") from None
    if not isinstance(told, dict):
        raise UsageError("the answer is no object; see ANSWER.md")
    path = bench.folder / ANSWER
    before = read_plain(path) if os.path.lexists(path) else None
    atomic_write(path, (json.dumps(told, indent=1, ensure_ascii=False) + "\n").encode())
    defects = _defects(bench)
    found = bench.evaluator.compile(bench.text(POLICY)).defects if not defects else ()
    if defects or found:
        path.unlink() if before is None else atomic_write(path, before.encode())
        raise TriuneError(f"not submitted: {'; '.join([*defects, *found])}")
    console.say(f"submitted  {ANSWER}; the run judges it when it goes on")
    return {"answer": ANSWER}


RUN: dict[str, Callable[[Bench, argparse.Namespace, Console], dict[str, Any]]] = {
    "eval": _eval, "play": _play, "explain": _explain, "watch": _watch, "check": _check, "compare": _compare,
    "submit": _submit,
}  # fmt: skip
ARGUMENTS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "eval": _eval_arguments, "play": _play_arguments, "explain": _add_game, "watch": _add_game,
    "check": _check_arguments, "compare": _compare_arguments, "submit": lambda parser: None,
}  # fmt: skip
