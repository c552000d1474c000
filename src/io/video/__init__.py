"""Readers and writers of videos, as players show them."""
