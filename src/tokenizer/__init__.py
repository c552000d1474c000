"""Video <-> latent: the Cosmos autoencoder, its statistics, and encodings of rays and time."""
