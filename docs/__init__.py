"""The documentation. `docs.generate` writes the tables that follow from the code."""
