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
- `writer`: `DualWriter`, which joins lanes, mirroring and comparing
- `mirroring`: what commands become for the other store, and who copies to it
- `copier`, `resync`: the state of a key, and of all keys
- `comparing`: which reads are compared, and what a difference does
- `stream`: the secondary stream: bounded, ordered, sharded
- `settling`: the books of what leaves it
- `shard`, `exchange`: a part of its queue with a task, and what that says on its connection
- `transactions`: batches as transactions, for a store where each write costs a commit
- `shadow`: confirms differences by reading again
- `pubsub`: the connection to the primary that all subscribers share
- `shadow_pubsub`, `following`: the same subscriptions on the secondary, to compare the messages
- `session`: one client: what it sends is executed, or held back
- `client_socket`, `client_order`: bytes to and from it; what it has outstanding on the lanes
- `special`: its commands that are not simply sent, by family: `session_commands`, `transaction_commands`,
  `subscription_commands`, `blocking_commands`, `client_commands`, `replicas`
- `client`, `lease`: what these have in common; a connection for one client alone
- `listener`: accepts clients
"""
