"""Who labels frames without a person: declared colours, motion, the simulator's state."""
