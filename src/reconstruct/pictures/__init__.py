"""Pictures of scenes side by side."""
