"""What is measured: one part of nano a file."""
