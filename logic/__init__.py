"""Scene to Action: the policy language, its runner, safety rules."""
