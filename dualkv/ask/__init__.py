"""Asks a running dualkv, or the file that it writes, what comparing has found; and tells it what to do.

- `source`: where records come from: HTTP, a file of JSON lines, a SQLite database
- `status`, `screen`: ``dualkv status``
- `tables`: how they are shown to a person
- `reproduce`: a divergence as a script of plain commands
- `control`: ``dualkv ctl``
- `commands`: ``dualkv divergences``, ``dualkv coverage``, ``dualkv readiness``
"""
