"""Every setting, once.

Each field of `ProxyConfig` is a flag, an environment variable and a key of the TOML file: flag
``--shadow-timeout``, variable ``DUALKV_SHADOW_TIMEOUT``, key ``shadow_timeout``.
"""

from __future__ import annotations

from typing import Any, Final

import attrs

from dualkv.config import values
from dualkv.config.admin import AdminToken, admin_tokens, check_admin
from dualkv.config.backends import BackendOptions, backend, backend_address
from dualkv.config.doors import ListenAddress, Network, client_address, networks
from dualkv.config.modes import ProxyMode, parse_proxy_mode
from dualkv.config.setting import setting, settings_of, shown
from dualkv.config.shadow_rules import ShadowRule, parse_shadow_rules
from dualkv.config.tls import check_tls, tls_of_backend
from dualkv.errors import ConfigError

__all__ = ["SETTINGS", "ProxyConfig"]


@attrs.frozen
class ProxyConfig:
    """The effective settings. Make one with `load_config`, or directly in a program or test."""

    mode: ProxyMode = setting("dual-write", parse_proxy_mode, "Who answers and who follows.")
    listen: ListenAddress = setting(
        ":6479",
        client_address,
        "Where clients connect: host:port (port 0 takes a free one), or unix:///path?mode=660.",
    )
    workers: int = setting(
        "1",
        values.positive_count,
        "How many processes serve clients behind one address, each with an order of its own; 1: this one.",
    )
    metrics: tuple[str, int] | None = setting(
        ":9191",
        values.optional_listen_address,
        "Where HTTP serves /metrics, /healthz, /readyz; 'off': nowhere.",
    )
    admin: tuple[str, int] | None = setting(
        "127.0.0.1:9192",
        values.optional_listen_address,
        "Where HTTP lets a running dualkv be controlled (`dualkv ctl`); 'off': nowhere.",
    )
    admin_token: tuple[AdminToken, ...] = setting(
        "",
        admin_tokens,
        "What must be said there: TOKEN or NAME:TOKEN; several, a line each: any of them will do. Empty: "
        "nothing, which needs an address of this machine.",
        secret=True,
    )

    primary: str = setting(
        "localhost:6379",
        backend,
        "The store of the redis-* modes: host:port, redis://, rediss://, unix://, sentinel://, sentinels://; "
        "several nodes (host:port,host:port): the one that leads is found.",
    )
    primary_db: int = setting("0", values.count, "Its database number.")
    primary_password: str = setting("", str, "Its password (better: the _FILE form).", secret=True)
    primary_name: str = setting("redis", values.label, "Its name in metrics and logs.")
    primary_pool_size: int = setting("128", values.positive_count, "Most connections to it, of all kinds.")
    primary_tls_ca: str = setting(
        "", str, "With TLS: a PEM file of the authorities to believe, no others; empty: the system's."
    )
    primary_tls_cert: str = setting("", str, "With TLS: a PEM file with the certificate to show (mTLS).")
    primary_tls_key: str = setting("", str, "Its key, if that is in another file.")
    primary_tls_key_password: str = setting("", str, "What the key is encrypted with.", secret=True)
    primary_tls_server_name: str = setting(
        "", str, "The name that its certificate must have, also sent as SNI; empty: that of the address."
    )
    primary_tls_verify: bool = setting(
        "true", values.boolean, "Whether its certificate is verified. Without, anybody can be in between."
    )
    secondary: str = setting("localhost:6380", backend, "The store of the elastickv-* modes.")
    secondary_db: int = setting("0", values.count, "Its database number.")
    secondary_password: str = setting("", str, "Its password (better: the _FILE form).", secret=True)
    secondary_name: str = setting("elastickv", values.label, "Its name in metrics and logs.")
    secondary_pool_size: int = setting(
        "192",
        values.positive_count,
        "Most connections to it, of all kinds.",
        aliases=("elastickv_pool_size",),
    )
    secondary_tls_ca: str = setting(
        "", str, "With TLS: a PEM file of the authorities to believe, no others; empty: the system's."
    )
    secondary_tls_cert: str = setting("", str, "With TLS: a PEM file with the certificate to show (mTLS).")
    secondary_tls_key: str = setting("", str, "Its key, if that is in another file.")
    secondary_tls_key_password: str = setting("", str, "What the key is encrypted with.", secret=True)
    secondary_tls_server_name: str = setting(
        "", str, "The name that its certificate must have, also sent as SNI; empty: that of the address."
    )
    secondary_tls_verify: bool = setting(
        "true", values.boolean, "Whether its certificate is verified. Without, anybody can be in between."
    )
    allow_listing: bool = setting(
        "false",
        values.boolean,
        "Whether clients may send SCAN, KEYS, DBSIZE to an ElasticKV that answers: a node goes down of them.",
    )
    allow_same_server: bool = setting(
        "false",
        values.boolean,
        "Whether to mirror even if both addresses lead to one server, or one store is the other's replica.",
    )
    leader_aware: bool = setting(
        "false",
        values.boolean,
        "Whether the node that leads is looked for where one address is named, too.",
    )
    dial_timeout_seconds: float = setting(
        "5s",
        values.positive_duration,
        "Longest time to connect to a backend, handshake included.",
        name="dial_timeout",
    )
    read_timeout_seconds: float = setting(
        "3s",
        values.positive_duration,
        "Longest silence of a backend that owes a reply.",
        name="read_timeout",
    )
    write_timeout_seconds: float = setting(
        "3s", values.positive_duration, "Longest time to hand bytes to a backend.", name="write_timeout"
    )

    lanes: int = setting(
        "0",
        values.count,
        "Connections that carry clients' commands to the store that answers; 0: one, or 64 if it commits "
        "each write (ElasticKV).",
    )

    secondary_write_concurrency: int = setting(
        "0",
        values.count,
        "Connections that mirrored writes are spread over, by key; 0: one, which carries a pipeline.",
    )
    secondary_script_concurrency: int = setting(
        "0",
        values.count,
        "Batches with mirrored scripts in flight at once; 0: a thirty-second of it, 1 to 3.",
    )
    secondary_blocking_replay_concurrency: int = setting(
        "0",
        values.count,
        "Effects of blocking commands in flight at once; 0: what the pool has left, at most 32.",
    )
    secondary_write_queue_size: int = setting(
        "0", values.count, "Mirrored writes that may wait; 0: 64 x concurrency, within 64 and 8192."
    )
    secondary_script_queue_size: int = setting(
        "0", values.count, "Mirrored scripts that may wait; 0: as above."
    )
    secondary_blocking_replay_queue_size: int = setting(
        "0", values.count, "Effects of blocking commands that may wait; 0: as above."
    )
    secondary_queue_bytes: int = setting(
        "64MiB", values.size, "Bytes that everything waiting for the secondary may take."
    )
    secondary_timeout_seconds: float = setting(
        "30s",
        values.positive_duration,
        "Longest life of a mirrored write, from offer to answer.",
        name="secondary_timeout",
    )
    secondary_script_timeout_seconds: float = setting(
        "5m",
        values.duration,
        "The same for scripts, at most 5m; 0: as for writes.",
        name="secondary_script_timeout",
    )
    shadow_timeout_seconds: float = setting(
        "3s",
        values.positive_duration,
        "Longest wait of a shadow read before it is given up.",
        name="shadow_timeout",
    )
    confirm_after_seconds: float = setting(
        "1s",
        values.positive_duration,
        "How long after a difference both stores are read again; twice, then it is reported.",
        name="confirm_after",
    )
    selftest: str = setting(
        "auto",
        values.one_of("auto", "off"),
        "Whether canaries are written and compared, in the modes that mirror: 'auto' or 'off'.",
    )
    shadow_queue_size: int = setting("1024", values.positive_count, "Shadow reads at once.")
    shadow_sample: float = setting(
        "1.0",
        values.fraction,
        "Share of keys whose reads are compared, such as 0.1 or 10%: always the same keys.",
    )
    shadow_rules: tuple[ShadowRule, ...] = setting(
        "",
        parse_shadow_rules,
        "What differs from that, by key and command: 'PREFIX* COMMAND ACTION', several separated by ';' (in "
        "the file: an array); the first that fits decides.",
    )
    shadow_budget_age_seconds: float = setting(
        "100ms",
        values.positive_duration,
        "While writes wait for the secondary, fewer reads are compared if it is behind by so much.",
        name="shadow_budget_age",
    )

    repair: str = setting(
        "auto",
        values.one_of("auto", "manual", "off"),
        "Copying the state of keys that may differ: 'auto', 'manual' (`dualkv ctl repair`), or 'off'.",
    )
    repair_rate: int = setting("0", values.count, "Keys that are repaired per second, at most; 0: no limit.")
    repair_divergences: bool = setting(
        "true", values.boolean, "Whether a confirmed divergence makes its keys dirty, to be repaired."
    )
    fill_gaps: bool = setting(
        "false", values.boolean, "Whether a key that a shadow read finds missing is copied at once."
    )
    dirty_keys: int = setting(
        "1000000", values.positive_count, "Keys that may be dirty at once; more: a resync is required."
    )
    dirty_bytes: int = setting("256MiB", values.size, "Bytes that dirty keys may take.")
    recent_window_seconds: float = setting(
        "5s",
        values.positive_duration,
        "How far back a store may have forgotten writes when it comes back as another process.",
        name="recent_window",
    )
    resync: str = setting(
        "auto",
        values.one_of("auto", "manual"),
        "Copying all keys when dirty keys are not enough any more: 'auto', or 'manual' (`dualkv ctl resync`, "
        "or SIGUSR2).",
    )
    backfill: bool = setting("false", values.boolean, "Whether to copy all keys from the start on.")
    copy_bytes: int = setting(
        "32MiB",
        values.size,
        "Bytes of copied states that may be under way at once; larger keys go in chunks.",
    )

    shadow_pubsub: str = setting(
        "auto",
        values.one_of("auto", "on", "off"),
        "Comparing messages of Pub/Sub, in the modes that compare: 'on', 'off', or 'auto': on, unless the "
        "other store is an ElasticKV, which may go down when a connection ends that was subscribed.",
    )
    pubsub_compare_window_seconds: float = setting(
        "2s",
        values.positive_duration,
        "How long a message waits for its twin.",
        name="pubsub_compare_window",
    )
    pubsub_sweep_seconds: float = setting(
        "500ms",
        values.positive_duration,
        "How often waiting messages are looked through.",
        name="pubsub_sweep",
    )

    auth: str = setting(
        "configured",
        values.auth,
        "Whom clients must be: 'configured' (client_password, users, or else the primary's own credentials), "
        "'pass-through' (users of the primary, whose ACLs apply), or 'none': everybody is let in.",
    )
    client_password: str = setting(
        "", str, "What clients must say; several, a line each: any of them will do.", secret=True
    )
    users: str = setting("", str, "Who may come in and do what, as ACL LIST prints it.", secret=True)

    tls_cert: str = setting(
        "",
        str,
        "A PEM file with the certificate that clients see, and its chain: clients must speak TLS then.",
    )
    tls_key: str = setting("", str, "Its key, if that is in another file.")
    tls_key_password: str = setting("", str, "What the key is encrypted with.", secret=True)
    tls_client_ca: str = setting(
        "", str, "A PEM file of authorities: clients must show a certificate of theirs (mTLS)."
    )
    tls_min_version: str = setting(
        "1.2", values.one_of("1.2", "1.3"), "The oldest TLS that is spoken, to clients and stores."
    )
    tls_handshake_timeout_seconds: float = setting(
        "5s",
        values.positive_duration,
        "Longest time for a client to say who it is: PROXY header and TLS handshake.",
        name="tls_handshake_timeout",
    )
    metrics_tls: str = setting(
        "off",
        values.one_of("off", "on", "mutual"),
        "Whether HTTP speaks TLS with the same certificate: 'off', 'on', 'mutual' (asks for one, too).",
    )

    admin_tls: str = setting(
        "off",
        values.one_of("off", "on", "mutual"),
        "The same for the address of `admin`.",
    )

    max_clients: int = setting("10000", values.positive_count, "Most clients at once.")
    allow_networks: tuple[Network, ...] = setting(
        "",
        networks,
        "Where clients may come from, such as 10.0.0.0/8; several separated by ';'; empty: anywhere.",
    )
    proxy_protocol: bool = setting(
        "false",
        values.boolean,
        "Whether connections begin with a PROXY header (version 2) of a load balancer, which is believed.",
    )
    client_idle_timeout_seconds: float = setting(
        "0",
        values.duration,
        "Silence after which a client is disconnected, unless it is subscribed or blocked; 0: never.",
        name="client_idle_timeout",
    )
    tcp_keepalive_seconds: float = setting(
        "60s",
        values.duration,
        "Silence after which TCP looks whether a client or store is still there; 0: never.",
        name="tcp_keepalive",
    )
    tcp_user_timeout_seconds: float = setting(
        "0",
        values.duration,
        "How long bytes to a client or store may stay unacknowledged; 0: as long as the system says.",
        name="tcp_user_timeout",
    )
    client_outstanding: int = setting(
        "1024",
        values.positive_count,
        "Commands of one client that may wait for a reply; then it is not read.",
    )
    client_request_bytes: int = setting(
        "1GiB", values.size, "Bytes of one request; a client that sends a larger one is disconnected."
    )
    client_output_bytes: int = setting(
        "32MiB", values.size, "Replies that one client may leave unread; then it is disconnected."
    )

    lame_duck_seconds: float = setting(
        "0s",
        values.duration,
        "Between SIGTERM and closing the door, for load balancers to notice.",
        name="lame_duck",
    )
    drain_seconds: float = setting(
        "10s",
        values.positive_duration,
        "Longest time for clients to finish, and again for the queue to empty.",
        name="drain",
    )

    journal_dir: str = setting(
        "", str, "Where keys of writes on their way are kept, to survive kill -9; empty: nowhere."
    )
    journal_fsync: str = setting(
        "interval",
        values.fsync,
        "When they are forced to the disk: 'always' before a write leaves, 'interval' each second, 'never'. "
        "A machine that goes down costs a copy of everything, except with 'always'.",
    )
    journal_bytes: int = setting("256MiB", values.size, "Most that they may take there.")

    divergence_ring: int = setting(
        "1000", values.positive_count, "Divergences that are remembered, for HTTP and `dualkv divergences`."
    )
    divergence_log: str = setting(
        "",
        values.divergence_log,
        "A file for divergences: JSON lines (.jsonl) or SQLite (.sqlite, .db); empty: none.",
    )
    divergence_log_bytes: int = setting(
        "64MiB", values.size, "What it may take; then its oldest divergences make room."
    )
    show_values: bool = setting(
        "false",
        values.boolean,
        "Whether values are shown there, by HTTP and by `dualkv divergences`; else their hash and length.",
    )
    coverage_delimiter: str = setting(
        ":", str, "What ends the prefix by which keys are counted; empty: all keys are one prefix."
    )
    coverage_prefixes: int = setting(
        "1000", values.positive_count, "Prefixes that are told apart; the others are counted together."
    )
    ready_min_reads: int = setting(
        "1000", values.count, "Ready: so many reads of each prefix have been compared, at least."
    )
    ready_max_divergences: int = setting(
        "0", values.count, "Ready: in `ready_window` there were at most so many divergences but gaps."
    )
    ready_max_gaps: int = setting(
        "0", values.count, "Ready: in `ready_window` there were at most so many migration gaps."
    )
    ready_max_stream_age_seconds: float = setting(
        "1s",
        values.positive_duration,
        "Ready: what waits for the secondary has waited at most so long.",
        name="ready_max_stream_age",
    )
    ready_max_dirty_keys: int = setting("0", values.count, "Ready: at most so many keys are dirty.")
    ready_window_seconds: float = setting(
        "10m",
        values.positive_duration,
        "How long divergences keep it from being ready.",
        name="ready_window",
    )

    sentry_dsn: str = setting("", str, "Where divergences are reported; empty: nowhere.", secret=True)
    sentry_env: str = setting("", str, "Sentry's environment.")
    sentry_sample: float = setting("1.0", values.fraction, "Share of events sent to Sentry.")
    log_level: str = setting("info", values.log_level, "debug, info, warning or error.")

    def __attrs_post_init__(self) -> None:
        """Check what no single setting can see."""
        pool = self.secondary_pool_size
        for name in (
            "secondary_write_concurrency",
            "secondary_script_concurrency",
            "secondary_blocking_replay_concurrency",
        ):
            if getattr(self, name) > pool:
                raise ConfigError(f"{name}: {getattr(self, name)} is more than secondary_pool_size ({pool})")
        pool = min(self.primary_pool_size, self.secondary_pool_size)
        if self.lanes >= max(pool, 2):
            raise ConfigError(f"lanes: {self.lanes} is not less than the pool sizes (the smaller is {pool})")
        if self.secondary_script_timeout_seconds > 300:
            raise ConfigError("secondary_script_timeout: must not be more than 5m")
        if self.auth != "configured" and (self.client_password or self.users):
            raise ConfigError(f"auth: {self.auth!r} contradicts client_password and users")
        if self.client_password and self.users:
            raise ConfigError("users: name the default user's password there, not in client_password")
        if self.primary_name == self.secondary_name:
            raise ConfigError(f"secondary_name: {self.secondary_name!r} is the primary's name")
        check_tls(self)
        check_admin(self)

    # --- what follows from the settings

    def backend_options(self, which: str) -> BackendOptions:
        """Return how to reach ``"primary"`` or ``"secondary"`` (as configured, whatever the mode)."""
        options: dict[str, Any] = {
            "db": getattr(self, f"{which}_db"),
            "password": getattr(self, f"{which}_password") or None,
            **backend_address(getattr(self, which)),
        }
        if self.leader_aware and "host" in options:
            options.setdefault("seeds", ((options["host"], options["port"]),))
        return BackendOptions(
            name=getattr(self, f"{which}_name"),
            pool_size=getattr(self, f"{which}_pool_size"),
            dial_timeout_seconds=self.dial_timeout_seconds,
            read_timeout_seconds=self.read_timeout_seconds,
            write_timeout_seconds=self.write_timeout_seconds,
            tls_files=tls_of_backend(self, which),
            keepalive_seconds=self.tcp_keepalive_seconds,
            user_timeout_seconds=self.tcp_user_timeout_seconds,
            **options,
        )

    @property
    def shards(self) -> int:
        """Into how many ordered streams, by key, the mirrored writes are split; a connection each."""
        return self.secondary_write_concurrency or 1

    @property
    def _write_share(self) -> int:
        """The part of the secondary's pool that the sizes of queues are measured by."""
        return self.secondary_write_concurrency or max(1, self.secondary_pool_size // 2)

    @property
    def script_concurrency(self) -> int:
        """Batches with mirrored scripts in flight at once."""
        return self.secondary_script_concurrency or min(3, max(1, self._write_share // 32))

    @property
    def blocking_replay_concurrency(self) -> int:
        """Effects of blocking commands in flight at once."""
        left = self.secondary_pool_size - self._write_share - self.script_concurrency
        return self.secondary_blocking_replay_concurrency or min(32, max(1, left))

    @property
    def queue_sizes(self) -> dict[str, int]:
        """Items that may wait, by queue."""
        return {
            "write": self.secondary_write_queue_size or _queue_size(self._write_share),
            "script": self.secondary_script_queue_size or _queue_size(self.script_concurrency),
            "blocking": self.secondary_blocking_replay_queue_size
            or _queue_size(self.blocking_replay_concurrency),
            "shadow": self.shadow_queue_size,
            "copy": 1024,
        }

    @property
    def script_timeout_seconds(self) -> float:
        """Longest life of a mirrored script, from offer to answer."""
        return self.secondary_script_timeout_seconds or self.secondary_timeout_seconds

    def effective(self) -> dict[str, str]:
        """Return every setting by name as a person reads it, secrets blanked."""
        return {one.name: shown(one, getattr(self, one.field)) for one in SETTINGS}


def _queue_size(concurrency: int) -> int:
    return min(8192, max(64, 64 * concurrency))


SETTINGS: Final = settings_of(ProxyConfig)
"""All settings, in the order of the documentation."""
