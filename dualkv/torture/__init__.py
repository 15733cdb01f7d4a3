"""``dualkv torture``: whether the secondary ends up equal, whatever happens.

One seed is one run: clients send every write command there is through dualkv, faults happen to the stores, to
the connections and to dualkv itself, and when all is quiet again the stores are compared by value. What is
random comes from the seed.

    generator ──► clients ──► dualkv, a process ──► link ──► primary
                     │            ▲        └──────► link ──► secondary
                     ▼            │                  ▲           ▲
                  history       faults ──────────────┴───────────┤
                     └──► report ◄── differences ◄── comparison ─┘

- `grammar`     templates of commands → functions that draw one
- `words`       what stands for a key, a value, a time in a template
- `templates`   the commands
- `scripts`     Lua for them
- `generate`    what a client sends next: pipelines, transactions, WATCH
- `clients`     send it, and survive what happens
- `history`     the last operations of each key
- `child`       dualkv as a process that can be killed
- `links`       a TCP proxy that cuts, delays, garbles, and answers errors
- `faults`      what happens, and when
- `state`       everything that is to be known of a key, as aspects
- `compare`     the aspects in which two stores differ
- `stores`      the two stores: throw-away ones, or the user's own
- `seed`        one seed
- `run`         all of them
- `report`      how it is told
"""
