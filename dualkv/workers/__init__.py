"""Several processes behind one address: ``dualkv serve --workers 4``.

Each worker is a whole dualkv, with its own lane, stream and journal; the kernel spreads connections over them
(SO_REUSEPORT). The supervisor serves no clients: it starts workers, starts them again, and speaks for all of
them over HTTP.

- `merging`     what several workers say, as one answer; pure
- `order`       what a worker is started with
- `child`       a worker: ``python -m dualkv.workers.child``
- `vote`        a worker's part of a change of the mode that all make or none
- `asking`      HTTP to a worker
- `supervisor`  the processes
- `app`         HTTP for all of them together
"""
