"""Asking a running dualkv, and its file."""
