"""Run a bundle with onnxruntime alone, on frames from anywhere: no Triune is imported.

python examples/bundle_plain.py breakout.onnx [frames.raw]      frames.raw: uint8 RGB frames one after another
"""

import json
import sys

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
manifest = json.loads(session.get_modelmeta().custom_metadata_map["triune.bundle.manifest"])
names = [output.name for output in session.get_outputs()]

frames = np.zeros((3, *manifest["frame"]), np.uint8)  # put your camera's frames here
if len(sys.argv) > 2:
    frames = np.fromfile(sys.argv[2], np.uint8).reshape(-1, *manifest["frame"])

memory = np.zeros(manifest["memory"]["size"])
for place, value in manifest["memory"]["start"]:
    memory[place] = float(value)
for frame in frames:
    out = dict(zip(names, session.run(names, {"frame": frame, "memory": memory}), strict=True))
    memory = out["next_memory"]
    reason = int(out["reason"][0])
    if "controls" in manifest:  # a value for each name, in place of one of the names
        action = dict(zip(manifest["actions"], out["action"].tolist(), strict=True))
    else:
        action = manifest["actions"][int(out["action"][0])]
    print(action, "fault" if reason < 0 else manifest["reasons"][reason])
