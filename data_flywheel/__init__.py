"""Episodes to better detectors: records, datasets, teachers' labels, causal discovery."""
