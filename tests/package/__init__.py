"""What is published: `make test-package`."""
