"""The documentation: complete, right, and run."""
