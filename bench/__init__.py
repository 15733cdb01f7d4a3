"""The benchmark: ``make bench``.

Direct Redis, HAProxy in TCP mode (one thread) and dualkv in each mode, loaded in turns by
``redis-benchmark`` on the same machine, so that its noise hits all of them. It is a benchmark, not a timed
test: nothing fails here.

- `targets`: what is measured: starts and stops the processes
- `load`: one run of the load, its figures, and the CPU time it cost
- `memory`: what it weighs before clients, and per idle client
- `report`: the table and the JSON file
"""
