"""Trainable weights, `NAME.safetensors` beside `NAME.onnx`: what training goes on from. Play never opens them.

The file is plain safetensors. Its metadata say for which schema, frame and width the network was built, and name by
sha256 the ONNX file that the weights belong to: a file that was copied or replaced without the other is found out.
Reading takes the standard library only; `training.export` makes a network of what it gives.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from envs.files import KINDS, Unreadable, loads, read_file
from perception.errors import PerceptionError

FORMAT = 1
KEY = "triune"  # one JSON text in the metadata: safetensors writes several entries in any order
MOST_HEADER = 1 << 20
MOST_WIDTH = 4096
FIX = KINDS["trainable weights"].missing


def weights_beside(path: str | Path) -> Path:
    """Where the trainable weights of an ONNX file lie."""
    return Path(path).with_suffix(".safetensors")


@dataclass(frozen=True)
class Header:
    """What the metadata say. `shape` (H, W) of the frame; `width` as `Width.to_config`; sha256 of the ONNX file and of
    all tensors' bytes as they lie in the file.
    """

    fingerprint: str
    shape: tuple[int, int]
    width: dict[str, int]
    onnx: str
    tensors: str
    format: int = FORMAT

    def to_metadata(self) -> dict[str, str]:
        """For safetensors."""
        return {KEY: json.dumps(asdict(self), sort_keys=True)}

    @staticmethod
    def parse(data: bytes) -> Header:
        """Of the bytes of a whole file; ValueError says what is wrong with them."""
        size = header_size(data)
        try:
            told = loads(loads(data[8 : 8 + size])["__metadata__"][KEY])
            if told["format"] != FORMAT:
                raise ValueError(f"it has format {told['format']}, this is {FORMAT}; update Triune")
            header = Header(**{**told, "shape": tuple(told["shape"])})
        except (KeyError, TypeError, RecursionError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ValueError(f"no metadata of Triune, {type(error).__name__}") from None
        numbers = [*header.shape, *header.width.values()] if isinstance(header.width, dict) else [0]
        if len(header.shape) != 2 or not all(type(n) is int and 1 <= n <= MOST_WIDTH for n in numbers):
            raise ValueError(f"shape and width are whole numbers from 1 to {MOST_WIDTH}")
        if sha256(data[8 + size :]) != header.tensors:
            raise ValueError("the tensors are not those that were written")
        return header


def header_size(data: bytes) -> int:
    """Bytes of the JSON that follows the first eight bytes; ValueError when they cannot say so."""
    size = int.from_bytes(data[:8], "little")
    if not 2 <= size <= min(MOST_HEADER, len(data) - 8):
        raise ValueError("no safetensors file")
    return size


def read_weights(path: str | Path) -> tuple[Header, bytes]:
    """Header and bytes of the weights that belong to the ONNX file `path`.

    PerceptionError when one of the two is missing, the weights are damaged or belong to another ONNX file.
    """
    lack = f"{path} cannot be trained further"
    beside = weights_beside(path)
    try:
        # nothing inside is compressed: the limit of the file is that of memory, too
        data = read_file(beside, "trainable weights", within=beside.parent)
        own = sha256(read_file(Path(path), "weights"))
        header = Header.parse(data)
    except Unreadable as error:
        raise PerceptionError(f"{lack}: {error}") from None
    except ValueError as error:
        raise PerceptionError(f"{lack}: {beside} is damaged ({error}); {FIX}") from None
    if header.onnx != own:
        raise PerceptionError(f"{lack}: {beside} belongs to another ONNX file; {FIX}")
    return header, data


def sha256(data: bytes) -> str:
    """In hex."""
    return hashlib.sha256(data).hexdigest()
