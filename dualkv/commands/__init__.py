"""What a command is: facts, without policy.

- `generated`: the table of all commands of Redis and Valkey, as rows
- `generate`: makes `generated` from the servers' own data
- `table`: the rows as `CommandSpec` objects, found by what a client wrote
- `keys`: which keys a request names
- `classify`: the category of a request (`CommandCategory`)

What dualkv *does* with a command is decided in `dualkv.core.routing`.
"""
