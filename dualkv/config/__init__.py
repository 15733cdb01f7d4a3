"""Settings: what can be set, where it comes from, what is refused.

- `settings`: every setting, once: `ProxyConfig`
- `load`: flags, environment, file, default
- `modes`: the names of the modes
- `backends`: how a backend's address is written
- `values`: durations, sizes, numbers as people write them
"""

from dualkv.config.backends import BackendOptions
from dualkv.config.load import load_config
from dualkv.config.modes import ProxyMode, parse_proxy_mode
from dualkv.config.settings import SETTINGS, ProxyConfig, Setting

__all__ = [
    "SETTINGS",
    "BackendOptions",
    "ProxyConfig",
    "ProxyMode",
    "Setting",
    "load_config",
    "parse_proxy_mode",
]
