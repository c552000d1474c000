"""Sampling: noise schedule, sampler, the rollout over chunks of frames, the pipeline."""
