"""The configurations of the commands, composed of those of the parts, and how they are loaded."""
