"""Settings: what can be set, where it comes from, what is refused.

- `settings`: every setting, once: `ProxyConfig`
- `setting`: what a setting is
- `load`: flags, environment, file, default
- `modes`: the names of the modes
- `backends`: how a backend's address is written
- `shadow_rules`: rules about reads that are compared
- `values`: durations, sizes, numbers as people write them
"""

from dualkv.config.backends import BackendOptions
from dualkv.config.load import load_config
from dualkv.config.modes import ProxyMode, parse_proxy_mode
from dualkv.config.setting import Setting
from dualkv.config.settings import SETTINGS, ProxyConfig
from dualkv.config.shadow_rules import ShadowRule

__all__ = [
    "SETTINGS",
    "BackendOptions",
    "ProxyConfig",
    "ProxyMode",
    "Setting",
    "ShadowRule",
    "load_config",
    "parse_proxy_mode",
]
