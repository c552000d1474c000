"""Training: losses, and (around one loop) the tasks that use them."""
