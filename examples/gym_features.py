"""The Scene as a Gymnasium observation: train any agent on named things instead of pixels.

python examples/gym_features.py [environment id]
"""

import sys

import gymnasium

import triune.gym_env  # noqa: F401 - registers the ids

env = gymnasium.make(sys.argv[1] if len(sys.argv) > 1 else "triune/Breakout-v0", protocol="sticky")
observation, info = env.reset(seed=0)
print(env.observation_space)
total = 0.0
for _ in range(200):
    observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
    total += float(reward)
    if terminated or truncated:
        break
print("reward", total, "ball", observation["ball"])
