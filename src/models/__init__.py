"""The models: the data that they see, and the decoder."""
