"""From a user's inputs to scenes with depth and cameras, and the camera paths through them."""
