"""Episodes to better eyes: records, datasets, teachers' labels, causal discovery."""
