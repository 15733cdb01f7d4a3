"""What is in ``deploy/``: each file is used, rendered, linted or run here."""
