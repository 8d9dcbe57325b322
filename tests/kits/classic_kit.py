"""Gymnasium's CartPole and Pendulum as the beginning of a system.toml; a test adds the scene that it is about."""

CARTPOLE = """format = 1
name = "cartpole"
[env]
backend = "gymnasium"
id = "CartPole-v1"
height = 400
width = 600
actions = ["LEFT", "RIGHT"]
fallback = "RIGHT"
protocol = "default"
"""
PENDULUM = """format = 1
name = "pendulum"
[env]
backend = "gymnasium"
id = "Pendulum-v1"
height = 500
width = 500
actions = { torque = [-2.0, 2.0] }
fallback = [0.5]
protocol = "default"
"""
