"""Figures of the small weights on held-out worlds, with sheets and tables."""
