"""Trio and sockets, here and nowhere else.

- `hub`: one readiness loop for all client sockets and lanes
- `transport`: connected sockets, TLS, the handshake with a backend
- `backend`: one backend: its connections, counted and limited
- `leader_aware`: a backend of several nodes, of which one leads
- `connection`: one connection that is used by one task: send a batch, read the replies
- `lane`: one connection that many clients share, pipelined
- `lanes`: one of them, or several where the primary executes one connection slowly
- `waiting`, `calls`: what waits on a lane for replies: to clients, and to tasks of dualkv's own
- `notes`, `journal`: keys of writes that are on their way, in memory and on disk
- `writer`: `DualWriter`, which joins lanes, the secondary stream and the comparing
- `stream`: the secondary stream: bounded, ordered, sharded
- `settling`: the books of what leaves it
- `shard`, `exchange`: a part of its queue with a task, and what that says on its connection
- `transactions`: batches as transactions, for a store where each write costs a commit
- `shadow`: confirms differences by reading again
- `pubsub`: the connection to the primary that all subscribers share
- `shadow_pubsub`, `following`: the same subscriptions on the secondary, to compare the messages
- `session`: one client
- `listener`: accepts clients
"""
