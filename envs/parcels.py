"""A folder or file as bytes, named by their hash: what a cluster's node is sent once, and keeps in a cache.

A parcel is one line of JSON, the names and sizes of its files in order, and then their bytes. It holds the regular
files at the top of a folder: no folders, links or hidden files, and no ledgers, which grow while a policy is played.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from envs.errors import EnvError
from envs.files import GIB, MIB, loads, read_file
from envs.writing import atomic_write, whole

MOST_FILES, MOST_BYTES = 256, 512 * MIB  # of one parcel
MOST_KEPT = 4 * GIB  # of all parcels that a node keeps
LEDGERS = (".jsonl", ".md")
KIND, WORK = "file of a task", ".work"


def check_name(name: object) -> str:
    """A plain file name, which leads nowhere else; EnvError for any other."""
    if not isinstance(name, str) or not 0 < len(name.encode(errors="replace")) <= 200 or not name.isprintable():
        raise EnvError(f"{name!r:.80} is no name that a file of a cluster can have; rename it")
    if name.startswith(".") or "/" in name or "\\" in name:
        raise EnvError(f"{name!r:.80} is no plain file name; rename it")
    return name


def digest(data: bytes) -> str:
    """sha256 hex."""
    return hashlib.sha256(data).hexdigest()


def wrap(path: Path) -> bytes:
    """The parcel of a folder or of a single file: the same bytes for the same content. EnvError says what cannot go."""
    files = {}
    for file in _files(path):
        files[check_name(file.name)] = read_file(file, KIND, EnvError, None if file == path else path)
        if len(files) > MOST_FILES or sum(map(len, files.values())) > MOST_BYTES:
            raise EnvError(
                f"{path}: more than the {MOST_FILES} files or {MOST_BYTES} bytes that go to a cluster; "
                "move what no game needs out of it"
            )
    return bound(files.items())


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(
        p for p in path.iterdir() if not p.is_dir() and not p.name.startswith(".") and p.suffix not in LEDGERS
    )


def bound(files: Iterable[tuple[str, bytes]]) -> bytes:
    """The parcel of these names and their bytes."""
    files = list(files)
    head = json.dumps([[name, len(data)] for name, data in files]).encode()
    return b"\n".join([head, b"".join(data for _, data in files)])


def unwrap(data: bytes) -> dict[str, bytes]:
    """The files of a parcel; EnvError unless it holds exactly what its first line says, under plain names."""
    head, line, body = data.partition(b"\n")
    try:
        told = loads(head if line and len(head) < 400 * MOST_FILES else b"")
        sizes = {check_name(name): int(size) for name, size in told}
    except (ValueError, TypeError, OverflowError):
        raise EnvError("a parcel is damaged: its first line names no files") from None
    fits = isinstance(told, list) and len(sizes) == len(told) <= MOST_FILES
    if not fits or min(sizes.values(), default=0) < 0:
        raise EnvError("a parcel is damaged: its files are no list, are named twice, or are too many")
    if sum(sizes.values()) != len(body):
        raise EnvError("a parcel is damaged: its files are longer or shorter than it says")
    files, at = {}, 0
    for name, size in sizes.items():
        files[name], at = body[at : at + size], at + size
    return files


# ----------------------------------------------------------------------------------------------------
# What a node keeps of them: a folder named by the hash, read-only, its content checked at every use.


def cache_folder() -> Path:
    """Where this machine keeps parcels: $TRIUNE_CACHE, or a folder of the user's cache."""
    named = os.environ.get("TRIUNE_CACHE")
    if named:
        return Path(named)
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(home) / "triune" / "parcels"


class Shelf:
    """Parcels by hash. `most`: bytes kept in all; those unused for longest go first, and none that is in use."""

    def __init__(self, root: Path, most: int = MOST_KEPT) -> None:
        """EnvError: the folder belongs to somebody else, or there is none to be had."""
        self.root, self.most = root, most
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = os.lstat(root)
        except OSError as error:
            raise EnvError(f"{root}: {error.strerror}; name a folder for a cache with TRIUNE_CACHE") from None
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise EnvError(f"{root} is not this user's alone; name another folder for a cache with TRIUNE_CACHE")

    @contextmanager
    def using(self, name: str) -> Iterator[Path | None]:
        """The folder of a parcel, not removed meanwhile; None when it is not here whole, as it was sent."""
        path = self.root / name
        try:
            held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            yield None
            return
        try:
            fcntl.flock(held, fcntl.LOCK_SH)
            yield path if self._is_whole(path, held, name) else None
        finally:
            os.close(held)

    def _is_whole(self, path: Path, held: int, name: str) -> bool:
        try:
            if os.stat(path).st_ino != os.fstat(held).st_ino:  # removed, and made again, before it was locked
                return False
            files = [(p.name, read_file(p, KIND, EnvError, path)) for p in sorted(path.iterdir())]
            if digest(bound(files)) != name:
                return False
            os.utime(path)
        except (OSError, EnvError):
            return False
        return True

    @contextmanager
    def workplace(self) -> Iterator[Path]:
        """A folder to write in, beside the parcels. Removed in the end, or by the next one where a kill came first."""
        places = self.root / WORK
        places.mkdir(mode=0o700, exist_ok=True)
        with ExitStack() as held:
            with _locked(places, fcntl.LOCK_EX):
                for left in places.iterdir():
                    with suppress(OSError), _locked(left, fcntl.LOCK_EX | fcntl.LOCK_NB):
                        shutil.rmtree(left, ignore_errors=True)
                folder = Path(tempfile.mkdtemp(dir=places))
                held.enter_context(_locked(folder, fcntl.LOCK_EX))
            held.callback(shutil.rmtree, folder, ignore_errors=True)
            yield folder

    def put(self, name: str, data: bytes) -> None:
        """Unpack a parcel; EnvError when it is not the one of that name, OSError when there is no room."""
        if digest(data) != name:
            raise EnvError("a parcel arrived damaged; run the command again")
        files = unwrap(data)
        self._make_room(len(data))
        path = self.root / name
        if path.exists():  # damaged, or it would have been used
            self._remove(path)
        try:
            with whole(path) as partial:
                partial.mkdir(mode=0o700)
                for file, content in files.items():
                    atomic_write(partial / file, content)
                    os.chmod(partial / file, 0o400)
        except OSError:
            if not path.is_dir():  # else another process of this node was faster
                raise
        with suppress(FileNotFoundError):
            os.chmod(path, 0o500)

    def _make_room(self, wanted: int) -> None:
        there = sorted((p for p in self.root.iterdir() if p.is_dir() and p.name != WORK), key=_used)
        sizes = {p: _size(p) for p in there}
        total = sum(sizes.values()) + wanted
        for path in there:
            if total <= self.most:
                return
            if self._remove(path):
                total -= sizes[path]

    def _remove(self, path: Path) -> bool:
        """Whether it is gone: one that is in use stays."""
        try:
            held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return not path.exists()
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.fchmod(held, 0o700)
            aside = Path(tempfile.mkdtemp(prefix=".gone-", dir=self.root))
            os.rename(path, aside / "it")
            shutil.rmtree(aside, ignore_errors=True)
        except OSError:
            return False
        finally:
            os.close(held)
        return True


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    """Hold a folder meanwhile; OSError when it is gone, or another has it (LOCK_NB)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def _used(folder: Path) -> float:
    """When it was used last; 0 when it is gone."""
    with suppress(OSError):
        return folder.stat().st_mtime
    return 0.0


def _size(folder: Path) -> int:
    with suppress(OSError):
        return sum(file.stat().st_size for file in folder.iterdir())
    return 0
