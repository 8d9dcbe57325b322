"""Tasks you can only see: pixels in, actions out; protocols, visual shifts, rollouts."""
