"""``dualkv torture``."""
