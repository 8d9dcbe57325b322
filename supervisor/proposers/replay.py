"""Recorded exchanges, and a proposer that gives them back: the same request, the same answer, offline.

A recording is one `.jsonl` file or a folder with one JSON file for each exchange:
`{format, key, request, proposer, text, usage: {tokens, usd, seconds, frames}, turns}`; a failed one has
`error: {message, fatal}` in place of text and turns. `request` is the canonical request, `key` its sha256.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_flywheel.storage import log
from data_flywheel.storage.files import atomic_write
from envs.files import loads, read_file
from supervisor.budget import Amount
from supervisor.errors import SupervisorError
from supervisor.events import plain
from supervisor.protocols import Proposer, ProposerError, Reply, Request, Usage
from supervisor.secrets import forms

FORMAT = 2
Exchange = dict[str, Any]


class Recorder:
    """Asks another proposer and writes down what it answers, failures too, before anyone sees it."""

    def __init__(self, proposer: Proposer, path: Path, secrets: Sequence[str] = ()) -> None:
        """`secrets` are blotted out of what is written, in any notation."""
        self.proposer, self.path, self.name, self.hidden = proposer, path, proposer.name, forms(secrets)

    def estimate(self, request: Request) -> Mapping[str, Amount]:
        """As the other's."""
        return self.proposer.estimate(request)

    def propose(self, request: Request) -> Reply:
        """As the other's."""
        try:
            reply = self.proposer.propose(request)
        except ProposerError as error:
            told = {"message": str(error), "fatal": error.fatal}
            append(self.path, request, self.name, error.usage, {"error": plain(told, self.hidden)})
            raise
        outcome = plain({"text": reply.text, "turns": list(reply.turns)}, self.hidden)
        append(self.path, request, self.name, reply.usage, outcome)
        return reply


def recording(proposer: Proposer, path: Path, secrets: Sequence[str] = ()) -> Recorder:
    """`proposer`, recorded into the file or folder at `path`."""
    return Recorder(proposer, path, secrets)


def append(path: Path, request: Request, name: str, usage: Usage, outcome: Mapping[str, Any]) -> None:
    """Add one exchange; a kill leaves the recording without it or with all of it."""
    told = json.loads(request.canonical)
    exchange = {"format": FORMAT, "key": request.key, "request": told, "proposer": name, "usage": usage.told()}
    line = json.dumps({**exchange, **outcome}, sort_keys=True, ensure_ascii=True) + "\n"
    if path.suffix != ".jsonl":
        path.mkdir(parents=True, exist_ok=True)
        atomic_write(path / f"{request.trial:04d}-{request.key[:16]}.json", line.encode())
        return
    log.append(path, line.encode())


def exchanges(path: Path) -> list[Exchange]:
    """All exchanges of a recording, each checked; SupervisorError names the one that is wrong."""
    if not path.exists():
        raise SupervisorError(f"{path}: there is no recording; record one with --record {path}")
    return [_checked(text, where) for where, text in _texts(path)]


def _texts(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        for file in sorted(path.glob("*.json")):
            yield str(file), read_file(file, "log", SupervisorError)
    else:
        lines, torn = log.read_lines(path, SupervisorError)  # a torn line is no exchange: nobody has seen its answer
        if torn and not lines:
            lines = [torn]  # but a file of nothing else is damaged, or of another kind
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield f"{path}, line {number}", line


def _checked(text: bytes, where: str) -> Exchange:
    try:
        made = loads(text)
        version, key, usage = made["format"], made["key"], Usage(**made["usage"])
        if version != FORMAT:
            fix = "bring it up to date: triune migrate OLD NEW" if version == 1 else "update Triune"
            raise SupervisorError(f"{where}: format {version}, but this program reads {FORMAT}; {fix}")
        whole = isinstance(made.get("text"), str) or isinstance(made["error"]["message"], str)
        whole = whole and made["request"].keys() >= {"task", "trial", "policy", "sections", "images"}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SupervisorError(f"{where}: not an exchange ({error!r}); restore the recording") from None
    if not whole or _key(made["request"]) != key:
        raise SupervisorError(f"{where}: the request was changed after it was recorded; restore the recording")
    return {**made, "usage": usage}


def migrate(old: Path, new: Path) -> int:
    """Write a recording of format 1, whose keys hashed the bytes of pictures, in the present format; how many
    exchanges. SupervisorError names one that was changed after it was recorded."""
    lines = []
    for where, text in _texts(old):
        try:
            made = loads(text)
            if made.get("format") == 1:
                if _key(made["request"]) != made["key"]:
                    fix = "restore the recording"
                    raise SupervisorError(f"{where}: the request was changed after it was recorded; {fix}")
                images = [[name, media, caption] for name, media, caption, _ in made["request"]["images"]]
                made["request"]["images"] = images
                made |= {"format": FORMAT, "key": _key(made["request"])}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise SupervisorError(f"{where}: not an exchange ({error!r}); restore the recording") from None
        _checked(json.dumps(made).encode(), where)
        lines.append(json.dumps(made, sort_keys=True, ensure_ascii=True) + "\n")
    atomic_write(new, "".join(lines).encode())
    return len(lines)


def _key(request: Mapping[str, Any]) -> str:
    canonical = json.dumps(request, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


class ReplayProposer:
    """Gives recorded answers with the usage that they had. Where a request was recorded twice, the last one counts.

    `into`: answer by trial and policy, whatever else a request now says, and write the exchanges with the present
    requests into this file: so that a recording outlives a change of the evidence.
    """

    name = "replay"

    def __init__(self, path: Path, into: Path | None = None) -> None:
        self.path, self.into = path, into
        self._found = {made["key"]: made for made in exchanges(path)}

    def __len__(self) -> int:
        return len(self._found)

    def estimate(self, request: Request) -> Mapping[str, Amount]:
        """What it took then; nothing for a request that is not there."""
        made = self._of(request)
        return made["usage"].amounts() if made else {}

    def propose(self, request: Request) -> Reply:
        """The recorded answer or failure; a fatal ProposerError for a request that is not there."""
        made = self._of(request)
        if made is None:
            raise ProposerError(self._miss(request), fatal=True)
        if self.into:
            outcome: dict[str, Any] = {name: made[name] for name in ("error", "text", "turns") if name in made}
            append(self.into, request, made["proposer"], made["usage"], outcome)
        if "error" in made:
            raise ProposerError(made["error"]["message"], made["usage"], bool(made["error"]["fatal"]))
        return Reply(made["text"], made["usage"], tuple(made.get("turns", ())))

    def _of(self, request: Request) -> Exchange | None:
        if not self.into:
            return self._found.get(request.key)
        asked = (request.task, request.trial, request.policy)
        same = [m for m in self._found.values() if tuple(m["request"][k] for k in ("task", "trial", "policy")) == asked]
        return same[-1] if same else None

    def _miss(self, request: Request) -> str:
        asked = json.loads(request.canonical)
        rivals = [(len(found := differences(m["request"], asked)), found, m) for m in self._found.values()]
        same = [r for r in rivals if r[2]["request"]["trial"] == request.trial]
        if not same:
            trials = sorted({m["request"]["trial"] for m in self._found.values()})
            have = f"it has trials {trials[0]} to {trials[-1]}" if trials else "it is empty"
            return f"{self.path} has no request of trial {request.trial}; {have}"
        _, found, nearest = min(same, key=lambda r: r[0])
        return (
            f"{self.path} has no such request; the nearest is {nearest['key'][:16]} of trial {request.trial}, which "
            f"differs in {'; '.join(found[:4])}; replay with the version, task and settings of the recording"
        )


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The parts in which two canonical requests differ, each with the first line that does."""
    found = [f"{name} ({_first(old[name], new[name])})" for name in ("task", "policy") if old[name] != new[name]]
    before, after = dict(old["sections"]), dict(new["sections"])
    for title in dict.fromkeys([*before, *after]):
        if before.get(title) != after.get(title):
            found.append(f"section {title!r} ({_first(before.get(title), after.get(title))})")
    if [title for title, _ in old["sections"]] != [title for title, _ in new["sections"]] and not found:
        found.append("the order of the sections")
    if old["images"] != new["images"]:
        names = [a[0] for a, b in zip(old["images"], new["images"], strict=False) if a != b]
        found.append(f"pictures ({', '.join(names) or 'their number'})")
    return found or ["nothing that is shown"]


def _first(old: str | None, new: str | None) -> str:
    if old is None or new is None:
        return "only in the recording" if new is None else "not in the recording"
    before, after = old.split("\n"), new.split("\n")
    for number, (a, b) in enumerate(zip(before, after, strict=False), 1):
        if a != b:
            return f"line {number}: recorded {a[:60]!r}, now {b[:60]!r}"
    return f"{len(before)} lines recorded, {len(after)} now"
