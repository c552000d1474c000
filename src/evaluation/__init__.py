"""Image metrics, and the comparison of two folders of videos or images."""
