"""Gaussian rasterisation: one seam, one pure-torch twin, deferred back-propagation."""
