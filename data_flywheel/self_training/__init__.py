"""A detector that learns a new look from play alone."""
