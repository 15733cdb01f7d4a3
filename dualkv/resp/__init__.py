"""Bytes ↔ messages, without I/O.

- `requests`: bytes from a client → `Request` (arguments, and the raw bytes to forward)
- `replies`: bytes from a backend → exact raw frames; values only when somebody asks
- `encode`: what we say ourselves, to clients and to backends
"""
