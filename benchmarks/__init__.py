"""Measurements behind the figures of README and docs. `triune bench NAME` finds them here.

A benchmark is a module with `add_arguments(parser)` and `run(args, console) -> payload`, like a command.
"""

BENCHMARKS = {
    "speed": "the pixel stack beside the bare emulator",
    "eyes": "one look of the native detector beside ONNX Runtime",
    "bundle": "the bundles, ONNX and native, beside play: time a frame, and whether they decide alike",
    "shift": "score lost under visual shifts and won back by self-training",
    "perception": "errors and time of a detector on held-out frames",
    "language": "the back ends of the policy language beside plain Python",
    "gate": "how often equal and better policies get in",
    "loop": "the road from a naive policy to a strong one by stored answers: frames, minutes, verdicts",
    "record": "what recording costs",
    "blame": "how often the verdict on an injected fault is right",
    "data": "labels that curation saves",
    "drift": "alarms of the drift watch",
    "cluster": "how work spreads over a cluster, and what 1,000 cores would do",
    "tuner": "what the tuner wins back of three constants that are off",
    "mujoco": "bodies, nominal and with their dynamics changed; the search for a gait's constants",
    "console": "the frame at which a console ends every game",
}
MODULES = {"blame": "attribution"}  # where a file has another name than its command
