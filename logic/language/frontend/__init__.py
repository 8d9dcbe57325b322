"""From text to graph: reading, typing, lowering."""
