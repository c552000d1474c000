"""Checkpoints of a training: files, folders, the state of all processes."""
