"""Sampling: noise schedule, sampler, the recipe of all clips, the rollout of a clip in pieces."""
