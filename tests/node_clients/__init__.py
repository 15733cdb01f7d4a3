"""Client libraries of Node.js through dualkv: ``make test-node``."""
