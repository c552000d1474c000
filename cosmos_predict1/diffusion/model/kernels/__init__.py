"""Fused steps of a transformer block and 8-bit products: Triton kernels, and twins in torch."""
