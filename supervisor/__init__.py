"""Evidence to better policy. Arrives with a later release; see CHANGELOG.md."""
