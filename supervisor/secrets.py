"""Keys and passwords: what may hold one, what one looks like in any notation, and a text without it. No secret is kept
here."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NoReturn
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

from supervisor.errors import SupervisorError

SHORTEST = 8  # a shorter one cannot be told from other text
PROXIES = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "all_proxy", "https_proxy", "http_proxy")
_NAMES_ONE = re.compile(
    r"((^|[-_.])(api-?key|key|token|secret|pass|passwd|password|passphrase|pat|auth|authorization|bearer|credentials?|sig)"
    r"|(?-i:[A-Z](KEY|TOKEN|SECRET|PASSWORD)))([-_.]?[0-9]+)?$",
    re.I,
)
_LOOKS_LIKE_ONE = re.compile(  # of the services that mark theirs
    r"(?<![A-Za-z0-9])(sk-|gh[pousr]_|github_pat_|glpat-|hf_|xox[abp]-|AKIA|AIza|eyJ)[A-Za-z0-9_.-]{8,}"
)
_SCHEMES = ("bearer", "basic", "token")  # of a header, before the key
_QUOTES = "'\"{("
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


# --- a text without them


def forms(secrets: Iterable[str]) -> tuple[str, ...]:
    """Every notation in which programs and servers repeat a secret, the longest first: as it is, each of its lines,
    escaped as by Python and JSON, for an address, in base 64. Short ones are left out."""
    found: set[str] = set()
    for secret in secrets:
        for said in {secret, *map(str.strip, secret.splitlines())}:
            if len(said) < SHORTEST:
                continue
            data = said.encode(errors="surrogateescape")
            found |= {said, repr(said)[1:-1], repr(data)[2:-1], json.dumps(said)[1:-1]}
            found |= {json.dumps(said, ensure_ascii=False)[1:-1], quote(data), quote(data, safe=""), quote_plus(data)}
            found |= {base64.b64encode(data).decode().rstrip("="), base64.urlsafe_b64encode(data).decode().rstrip("=")}
    return tuple(sorted(found, key=lambda form: (-len(form), form)))


def hide(text: str, hidden: Iterable[str], mark: str) -> str:
    """The text with `mark` in place of each of the `forms` in it."""
    for form in hidden:
        text = text.replace(form, mark)
    return text


def proxy_passwords() -> list[str]:
    """Passwords in the variables that name a proxy."""
    found: set[str] = set()
    for name in PROXIES:
        with contextlib.suppress(ValueError):
            password = urlsplit(os.environ.get(name, "")).password or ""
            found |= {password, unquote(password)} - {""}
    return sorted(found)


# --- words that must hold none, since they are shown and logged


def names_one(name: str) -> bool:
    """Whether this is what a field, option or variable with a secret in it is called."""
    return bool(_NAMES_ONE.search(name))


def variable(name: object, what: str) -> str:
    """The name of an environment variable; SupervisorError, which does not repeat it, for what is none."""
    if isinstance(name, str) and _VARIABLE.match(name) and len(name) <= 64:
        return name
    raise SupervisorError(f"{what} takes the name of an environment variable, not the key itself")


def plain_words(words: Iterable[str], what: str) -> None:
    """SupervisorError where the words of a command say a secret, such as `--api-key X` or `TOKEN=X`; `$X` is none."""
    found = " ".join(words).split()
    for at, word in enumerate(found):
        for name, said in _said(word, found[at + 1 : at + 3]):
            if said.strip(_QUOTES) and not said.lstrip(_QUOTES).startswith("$") and names_one(name):
                _among_words(what, name)
        if _LOOKS_LIKE_ONE.search(word):
            _among_words(what, "one of them")
        if "://" in word:
            plain_address(word, what)


def _said(word: str, after: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(name, value) of `NAME=X`, `--name X` and the headers `Name: X` and `Name: Bearer X`."""
    name, sign, value = word.partition("=")
    if sign:
        yield name, value
    elif word.startswith("-"):
        yield name, "".join(after[:1])
    head, sign, value = word.rpartition("=")[2].partition(":")
    if sign and not value.startswith("//") and (value or "-" in head or head.strip(_QUOTES).lower() == "authorization"):
        follows = [said for said in (value, *after) if said and said.lower() not in _SCHEMES]
        yield head.strip(_QUOTES), "".join(follows[:1])


def _among_words(what: str, name: str) -> NoReturn:
    raise SupervisorError(
        f"{what}: {name} puts a key among words that are logged; leave it in an environment variable, and name that "
        "with --keep-env"
    )


def plain_fields(fields: Mapping[str, object], what: str) -> None:
    """SupervisorError where a field has the name of a secret, at any depth."""
    for name, value in fields.items():
        if names_one(str(name)) and isinstance(value, str):
            raise SupervisorError(f"{what}: {name} would be logged; the key belongs into an environment variable")
        if isinstance(value, Mapping):
            plain_fields(value, what)


def plain_address(url: str, what: str) -> None:
    """SupervisorError, which does not repeat it, for an address with a password in it."""
    try:
        query = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    except ValueError:
        query = []
    if "@" in url or any(names_one(name) for name, _ in query):
        raise SupervisorError(f"{what} holds a password, and addresses are logged; put it into the key's variable")


def address(url: object, what: str) -> str:
    """An http address of a server, with no password in it; SupervisorError says how to write one."""
    if not isinstance(url, str):
        raise SupervisorError(f"{what} is an address such as http://127.0.0.1:8080/v1")
    plain_address(url, what)
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or not url.isprintable() or " " in url:
        raise SupervisorError(f"{what} = {url!r} is no address; write it as http://127.0.0.1:8080/v1")
    return url


def header(value: str, name: str) -> str:
    """A key that can be sent; SupervisorError, which does not repeat it, says what is wrong at which character."""
    for at, c in enumerate(value, 1):
        if not "!" <= c <= "~":
            kind = "a line break" if c in "\r\n" else "a space" if c == " " else f"the character U+{ord(c):04X}"
            raise SupervisorError(
                f"the key in {name} has {kind} at place {at} of {len(value)}; a key is one line of plain characters: "
                "set the variable again"
            )
    return value
