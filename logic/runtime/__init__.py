"""Scene in, decision out: tracker, policy, safety rules; traces and regression tests of them."""
