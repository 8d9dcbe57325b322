"""An improve run: its events, budget, state and steps."""
