"""``dualkv preflight``."""
