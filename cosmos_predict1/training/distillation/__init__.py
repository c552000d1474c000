"""Distillation of the generator to a few steps: consistency first, then distribution matching."""
