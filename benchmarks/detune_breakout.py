"""A deliberately detuned copy of the Breakout task: `python -m benchmarks.detune_breakout FOLDER [--shipped]`.

Three constants are off, so that the policy scores a twentieth of what it should; the detector, the rules and everything
else are the shipped ones. `--shipped` writes the same copy with every constant at its shipped value, to compare with.
"""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path

from supervisor.edits.tunables import constants, with_constants

SHIPPED = Path(__file__).resolve().parent.parent / "zoo" / "breakout"
KEPT = ("system.toml", "safety.py", "perception.safetensors", "perception.onnx", "ranges.json", "locks")
RANGES = {  # low, high: from useless to useless on both sides of the shipped value, where there are two sides
    "SIGMA": (0.2, 10.0),
    "TURN_LEFT": (4.0, 24.0),
    "TURN_RIGHT": (136.0, 156.0),
    "MEET": (176.0, 200.0),
    "PAST": (186.0, 206.0),
    "SOFT": (0.3, 10.0),
    "PITCH": (3.0, 9.0),
    "BONUS": (0.0, 0.3),
    "REACH": (10.0, 60.0),
}
OFF = {"MEET": 183.0, "REACH": 48.0, "TURN_LEFT": 14.0}


def tunable(text: str) -> str:
    """The policy with every constant of RANGES declared `tunable`, at the value that it has."""
    known = constants(text)
    for name, (low, high) in RANGES.items():
        if name not in known:
            text, found = re.subn(
                rf"^{name} = (-?[0-9.]+)", rf"{name} = tunable(\1, {low}, {high})", text, count=1, flags=re.M
            )
            if not found:
                raise SystemExit(f"zoo/breakout/policy.py has no constant {name}; name another in RANGES")
    return text


def write(folder: Path, shipped: bool = False) -> Path:
    """The copy; an existing folder is not touched."""
    folder.mkdir(parents=True)
    for name in KEPT:
        source = SHIPPED / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, folder / name)
    text = tunable((SHIPPED / "policy.py").read_text(encoding="utf-8"))
    (folder / "policy.py").write_text(text if shipped else with_constants(text, OFF), encoding="utf-8")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shipped", action="store_true")
    args = parser.parse_args()
    print(write(args.folder, args.shipped))


if __name__ == "__main__":
    main()
