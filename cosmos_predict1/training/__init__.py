"""Training of the generator; built on `cosmos_predict1.diffusion` and `src.training`."""
