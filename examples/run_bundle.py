"""Export a task to one file and run it with numpy and onnxruntime alone, on frames from anywhere.

python examples/run_bundle.py [task] [file]
"""

import sys

import numpy as np

import triune
from triune.deploy.export import export
from triune.runtime import Bundle

task = sys.argv[1] if len(sys.argv) > 1 else "breakout"
path = sys.argv[2] if len(sys.argv) > 2 else f"{task}.onnx"
export(triune.load(task), path)

bot = Bundle.load(path)
state = bot.start()
env = bot.spec.env
frame = np.zeros((env.height, env.width, 3), np.uint8)  # put your camera's frame here
for _ in range(3):
    action, state, why = bot.step(frame, state)
    print(action, why.action, why.reason, why.overruled_by)
