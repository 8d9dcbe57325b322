"""The policy language's compiler: text -> checked, typed IR -> Python, batches, ONNX. Never executes the text."""

from __future__ import annotations

from logic.language.api import (
    CompiledModule,
    CompiledProgram,
    CompileError,
    check_safety,
    check_source,
    compile_program,
    compile_safety,
)
from logic.language.diagnostics import Diagnostic, Limits
from logic.language.frontend.modules import LANGUAGE_FORMAT, Worked

__all__ = [
    "LANGUAGE_FORMAT", "CompileError", "CompiledModule", "CompiledProgram", "Diagnostic", "Limits", "Worked",
    "check_safety", "check_source", "compile_program", "compile_safety",
]  # fmt: skip
