"""The training of the small depth network."""
