"""Every decision, as pure functions and small state machines: no I/O, no clock, no trio.

- `modes`: who answers, who follows, whether reads are shadowed
- `routing`: where a request goes and what is mirrored or compared of it
- `session`: a client's connection state, and the answers dualkv gives itself
- `transaction`: MULTI … EXEC, queued in the proxy
- `fence`: one order per key where two paths lead to it
- `in_flight`: which keys are in flight on which lane
- `mirror`: what goes into the secondary stream
- `ledger`: the books of the secondary stream
- `fusing`, `pacing`: many effects in one transaction, and how many
- `compare`: whether two replies mean the same
- `backoff`: how long to wait before trying again
- `leadership`: which node of a backend leads
"""
