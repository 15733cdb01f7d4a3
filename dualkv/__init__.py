"""dualkv stands between applications and two Redis-protocol stores, and moves a live system across.

The one idea: all ordinary commands of all clients go to the primary over one pipelined connection, the
*lane*. A backend executes a connection's commands in order and answers in that order, so the replies on the
lane are the log of what the primary did. When a reply arrives, three things happen at that position, in one
synchronous step: its bytes go to the client, a write enters the *secondary stream*, a read becomes a *shadow
read* with the reply to expect. The secondary executes the stream in order, so each key passes through the
states it had on the primary, and comparing happens at exact positions. Where the primary commits each write
there are several lanes, and a key has its order on one of them (`dualkv.net.lanes`).

    client ──► session ──► lane ──────────────► primary
                  ▲          │ reply: the position
                  └──────────┤
                             └──► stream ──► shard(s) ──► secondary
                                                 │ replies to shadow reads
                                                 └──► shadow judge ──► metrics, log, Sentry

Inner parts know nothing of outer ones; ``tests/test_layers.py`` keeps it so:

    errors, config → resp → commands → core → observe → net → admin → succession, serve → …, cli
    └──────────── no trio, no socket, no clock ────────┘

- `dualkv.errors`    exceptions somebody catches, by whose fault
- `dualkv.config`    every setting; flags > environment > file > default
- `dualkv.resp`      bytes ↔ messages: requests, replies as raw frames, encoders
- `dualkv.commands`  what a command is: the table, key positions, categories
- `dualkv.core`      every decision: modes, routing, session state, what is mirrored, ledger, comparing
- `dualkv.observe`   metrics, logs, reports, Sentry
- `dualkv.net`       trio and sockets: hub, lane, stream, sessions, `DualWriter`
- `dualkv.admin`     HTTP: metrics, health, what comparing has found
- `dualkv.succession` who serves, and how the mode changes
- `dualkv.serve`     the composition root: `ProxyServer`, signals, drain
- `dualkv.workers`   several processes behind one address
- `dualkv.servers`   throw-away servers for the demo, the tests and the benchmark
- `dualkv.demo`      ``dualkv demo``
- `dualkv.torture`   ``dualkv torture``
- `dualkv.help`      how each command's help ends
- `dualkv.ask`       ``dualkv status``, ``ctl``, ``divergences``, ``coverage``, ``readiness``
- `dualkv.preflight` ``dualkv preflight``
- `dualkv.cli`       the command line
"""

from dualkv.commands.classify import CommandCategory, classify_command
from dualkv.config import BackendOptions, ProxyConfig, ProxyMode, load_config, parse_proxy_mode
from dualkv.core.comparison import Comparison
from dualkv.core.divergence import Divergence, DivergenceKind
from dualkv.net.backend import Backend, PubSubBackend, RedisBackend
from dualkv.net.leader_aware import LeaderAwareBackend
from dualkv.net.shadow_reader import ShadowReader, open_shadow_reader
from dualkv.net.writer import DualWriter, open_writer
from dualkv.observe.metrics import ProxyMetrics
from dualkv.observe.sentry import SentryReporter
from dualkv.serve import ProxyServer

__all__ = [
    "Backend",
    "BackendOptions",
    "CommandCategory",
    "Comparison",
    "Divergence",
    "DivergenceKind",
    "DualWriter",
    "LeaderAwareBackend",
    "ProxyConfig",
    "ProxyMetrics",
    "ProxyMode",
    "ProxyServer",
    "PubSubBackend",
    "RedisBackend",
    "SentryReporter",
    "ShadowReader",
    "classify_command",
    "load_config",
    "open_shadow_reader",
    "open_writer",
    "parse_proxy_mode",
]
