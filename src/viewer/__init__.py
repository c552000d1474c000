"""The page that shows 3D and 4D scenes in a browser, live or as one file."""
