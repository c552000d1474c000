"""The Mamba-2 scan: the seam, the Triton kernels, and the twin in plain torch."""
