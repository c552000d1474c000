"""The generator's network: sizes, layers, text encoder, weights and their key table."""
