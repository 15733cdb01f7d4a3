"""``dualkv preflight``: looks at both stores before anything starts, and harms neither.

- `model`: findings, and the facts that they follow from
- `checks`: facts → findings: of `stores`, of the `pair`, of `samples`
- `hazards`: the same for what is special about a kind of store
- `holding`: which write commands the other store holds, and in which form
- `usable`: which commands and options clients could not use any more
- `gather`: asks a store; nothing that the store does not name in ``COMMAND``, nothing that enumerates it
- `sampling`: looks at some hundred keys of the primary
- `used`: what a running dualkv has seen of the application (``/observed``), against the other store
- `show`: findings as a table, or as JSON
- `run`: all of it, and the exit code
"""
