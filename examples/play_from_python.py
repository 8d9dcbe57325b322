"""Play a task from Python and look at what was seen and why each action was chosen.

python examples/play_from_python.py [task] [steps]
"""

import sys

import triune
from triune.play import evaluate, play

task = sys.argv[1] if len(sys.argv) > 1 else "breakout"
steps = int(sys.argv[2]) if len(sys.argv) > 2 else 200

system = triune.load(task)
for step in play(system, seed=0):
    decision = step.decision
    if step.index % 20 == 0:
        print(step.index, step.scene.ball, system.spec.env.actions.names[decision.action], decision.reason, sep="  ")
    if step.index == steps:
        break

# without limit: whole games, real scores
result = evaluate(system, protocol="sticky", seeds=range(2), limit=steps)
print("mean", result.mean, "reasons", result.reasons)
