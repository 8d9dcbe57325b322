"""A revision of a policy: named definitions, changes to them, answers that carry them."""
