"""From loaded scope to graph: the entry function, its contract, the budgets of the result.

Knows: what a policy and a rule take and answer. Does not know: texts, back ends.
"""

from __future__ import annotations

import ast

from logic.language import passes
from logic.language.bound import MEMORY, POISON, SCENE, Bound, Frame, Pack, Scope, State, Wrong
from logic.language.diagnostics import Abort
from logic.language.effects import assigned_names
from logic.language.ir import INT, REASON, Block, Graph, Value
from logic.language.limits import OverBudget
from logic.language.loops import Lowering
from logic.language.ranges import bounds

POLICY_PARAMETERS = ["scene", "memory"]
RULE_PARAMETERS = ["scene", "memory", "action"]


def lower(low: Lowering, scope: Scope, function: ast.FunctionDef) -> Graph:
    """The graph of `act` or of a rule; errors are reported, the graph is then of no use."""
    rule = len(function.args.args) == len(RULE_PARAMETERS)
    low.builder.block = Block()
    low.builder.scopes = [{}]
    low.reasons, low.reason_lines = [], {}
    low.stored = scope.stored
    memory = {k: low.input(function, "memory", f.type, field=k) for k, f in scope.fields.items()}
    for name, value in memory.items():
        if scope.fields[name].type == INT:
            value.lo, value.hi = -(2**53), 2**53
    action = low.given_action()
    given: dict[str, Bound] = {"scene": SCENE, "memory": MEMORY, **({"action": action} if rule else {})}
    low.frame = Frame(scope, function, assigned_names(function.body) | given.keys())
    low.state, low.stack = State(given, memory), [(scope.file, function.name)]
    low.entry = "rule" if rule else "policy"
    low.block(function.body)
    results = _results(low, scope, function, rule)
    body = low.builder.block
    body.results = [*results, *low.state.memory.values()]
    graph = Graph(function.name, body, scope.fields, low.reasons, low.n_actions, [action] if rule else [])
    if not low.reporter.found:
        passes.optimise(graph)
        _budgets(low, scope, function, graph)
    return graph


def _results(low: Lowering, scope: Scope, function: ast.FunctionDef, rule: bool) -> list[Value]:
    """[action] or [action, reason], checked."""
    nothing = [low.builder.undefined(low.action_type), Value(REASON, const=0)]
    if low.state.returned.const is not True:
        if not low.reporter.found:
            low.reporter.say(
                scope.file,
                function,
                f"a path through {function.name} ends without return",
                "end every path with `return ...`",
            )
        return nothing
    answer = low.state.answer or POISON
    try:
        if rule:
            return [_action(low, function, low.value(function, answer))]
        if not isinstance(answer, Pack) or len(answer.items) != 2:
            low.value(function, answer) if not isinstance(answer, Pack) else None
            raise low.wrong(function, f"{function.name} must return an action and a reason", low.return_hint)
        action, reason = (low.value(function, item) for item in answer.items)
        if reason.type != REASON:
            raise low.wrong(function, f"the reason is {reason.type}, not a string", low.return_hint)
        return [_action(low, function, action), reason]
    except Wrong:
        return nothing


def _action(low: Lowering, node: ast.FunctionDef, value: Value) -> Value:
    """Of the task's type; constants that are no action are errors, other values are checked at play."""
    if value.type != low.action_type:
        raise low.wrong(node, f"the action returned is {value.type}; {low.actions_told}", low.return_hint)
    for leaf in _leaves(value) if value.type == INT else ():
        lo, hi = bounds(leaf)
        if leaf.const is not None and not 0 <= lo <= hi < low.n_actions:
            raise low.wrong(
                node, f"action {leaf.const} is not one of 0 .. {low.n_actions - 1}", "return one of the action names"
            )
    return value


def _leaves(value: Value) -> list[Value]:
    """Where a value that branches choose between comes from."""
    work, found, seen = [value], [], set()
    while work:
        item = work.pop()
        if item in seen:
            continue
        seen.add(item)
        if item.op is not None and item.op.name == "if":
            i = item.op.results.index(item)
            work.extend(block.results[i] for block in item.op.blocks)
        else:
            found.append(item)
    return found


def _budgets(low: Lowering, scope: Scope, function: ast.FunctionDef, graph: Graph) -> None:
    limits = low.meter.limits
    depth, innermost = passes.deepest(graph.body)
    if innermost is not None and depth > limits.nested:
        place = innermost.file or scope.file, (max(1, innermost.line), 1)
        fix = "use a table, or assign in each branch and return once at the end"
        low.reporter.say(*place, f"more than {limits.nested} conditions one inside the other", fix, "budget")
    checks = (
        (passes.worst_ns(graph.body), limits.step_ns, "ns at worst", "loop less, use smaller arrays, make a table"),
        (passes.live_bytes(graph.body), limits.live_bytes, "bytes of arrays in one step", "use smaller arrays"),
        (passes.table_bytes(graph), limits.table_bytes, "bytes of tables", "make the tables smaller"),
    )  # fmt: skip
    for amount, limit, what, instead in checks:
        if amount > limit:
            message = f"{function.name} needs about {amount:.3g} {what}; the limit is {limit:.3g}"
            dearest = max(graph.body.ops, key=passes.op_ns)
            low.reporter.say(dearest.file or scope.file, (max(1, dearest.line), 1), message, instead, "budget")


__all__ = ["Abort", "OverBudget", "POLICY_PARAMETERS", "RULE_PARAMETERS", "lower"]
