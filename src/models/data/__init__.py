"""Data sets of clips: which there are, what is drawn of a scene, and how it is read."""
