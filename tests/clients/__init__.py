"""Real client libraries, and what people build on them, through dualkv."""
