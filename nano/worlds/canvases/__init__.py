"""Pictures with the detail of photographs, from seeds alone, and clips of them in motion."""
