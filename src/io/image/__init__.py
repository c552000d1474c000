"""Readers of still pictures, with colour profiles and transparency."""
