"""One module per command: `add_arguments(parser)` and `run(args, console) -> dict` (the JSON payload).

Modules import what they need inside `run`, so that help is instant. A payload may hold `exit_code`.
"""
