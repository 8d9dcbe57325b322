"""Random policies mean the same in plain Python, generated Python, a batch and ONNX: actions, reasons, memory, faults.

What may differ is said in compiler_agree.py. A difference of rounding could turn a comparison: none of the programs
here does.
"""

from __future__ import annotations

import importlib.util

import pytest
from compiler_agree import SCENES, check_batch, check_onnx, run_both
from compiler_fuzz import Maker

from logic.language import CompileError

REFUSED = ("always a fault", "lies outside", "is not one of")  # constant parts that can only fail
HAS_ONNX = importlib.util.find_spec("onnx") is not None
QUICK, FULL = range(75), range(2400)  # a few of them are refused


def compare(seed: int, onnx: bool) -> int | None:
    """Run one program in every way there is; how many of its steps were faults. None: refused, since a constant part
    always faults."""
    source = Maker(seed).program()
    try:
        steps = run_both(source, seed)
    except CompileError as e:
        assert all(any(p in d.message for p in REFUSED) for d in e.diagnostics), f"{source}\n{e}"
        return None
    check_batch(steps)
    if onnx:
        check_onnx(steps)
    return sum(a < 0 for a, _ in steps.answers)


def test_random_programs_agree() -> None:
    ran = [compare(seed, HAS_ONNX) for seed in QUICK]
    faults = [n for n in ran if n is not None]
    assert len(faults) > 0.8 * len(ran)
    assert 0 < sum(faults) < 0.8 * SCENES * len(faults)  # both outcomes were compared


@pytest.mark.slow
def test_many_random_programs_agree() -> None:
    pytest.importorskip("onnx")
    ran = [n for seed in FULL if (n := compare(seed, True)) is not None]
    steps, refused = SCENES * len(ran), len(FULL) - len(ran)
    print(f"{len(ran)} programs agree on {steps} steps, {sum(ran)} of them faults; {refused} programs always fault")
    assert refused < 0.2 * len(FULL)
