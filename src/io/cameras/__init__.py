"""Readers and writers of camera files."""
