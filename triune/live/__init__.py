"""A bundle at work on pictures as they come: what can be wrong with them, and what is done about it."""
