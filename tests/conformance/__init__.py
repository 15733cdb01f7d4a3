"""The same conversations with Redis 7.0 directly and through dualkv: every reply's bytes are compared."""
