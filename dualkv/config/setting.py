"""What a setting is: a field of `dualkv.config.ProxyConfig`, a flag, a variable, a key of the file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from dualkv.config import values
from dualkv.config.backends import backend, without_secret
from dualkv.config.doors import client_address, networks, shown_listen_address
from dualkv.config.modes import ProxyMode
from dualkv.config.shadow_rules import parse_shadow_rules

__all__ = ["Setting", "setting", "settings_of", "shown"]


@attrs.frozen
class Setting:
    """One thing that can be set."""

    name: str
    """As in the TOML file."""
    field: str
    """The attribute of `ProxyConfig`; differs from the name where that carries a unit."""
    default: str
    parse: Callable[[str], Any]
    help: str
    secret: bool = False
    aliases: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """The command line's option."""
        return "--" + self.name.replace("_", "-")

    @property
    def is_switch(self) -> bool:
        """Whether it is on or off: a flag without a value."""
        return self.parse is values.boolean

    @property
    def is_list(self) -> bool:
        """Whether it is several texts: an array in the TOML file, separated by ``;`` elsewhere."""
        return self.parse in (parse_shadow_rules, networks)

    @property
    def variable(self) -> str:
        """The environment's variable."""
        return "DUALKV_" + self.name.upper()


def setting(
    default: str,
    parse: Callable[[str], Any],
    help_text: str,
    *,
    name: str | None = None,
    secret: bool = False,
    aliases: tuple[str, ...] = (),
) -> Any:
    """Return the field of a setting.

    Args:
        default: As a person writes it.
        parse: Makes the value of what a person has written.
        help_text: What it is, in a sentence or two.
        name: As in the TOML file, if the field's carries a unit.
        secret: Whether it is never shown.
        aliases: Other names that are understood.
    """
    return attrs.field(
        default=parse(default),
        repr=not secret,
        metadata={
            "name": name, "default": default, "parse": parse, "help": help_text,
            "secret": secret, "aliases": aliases,
        },
    )  # fmt: skip


def shown(one: Setting, value: Any) -> str:
    """Return a setting's value as a person reads it; of a secret only whether there is one."""
    if one.secret:
        return "***" if value else ""
    if isinstance(value, ProxyMode):
        return value.value
    if one.is_switch:
        return str(value).lower()
    if one.is_list:
        return "; ".join(map(str, value))
    if one.parse in (client_address, values.optional_listen_address):
        return shown_listen_address(value)
    if one.parse in (values.duration, values.positive_duration):
        return f"{value:g}s"
    if one.parse is backend:
        return without_secret(value)
    return str(value)


def settings_of(fields_of: type[attrs.AttrsInstance]) -> tuple[Setting, ...]:
    """Return the settings that a class has as fields, in their order."""
    return tuple(
        Setting(
            name=field.metadata["name"] or field.name,
            field=field.name,
            default=field.metadata["default"],
            parse=field.metadata["parse"],
            help=field.metadata["help"],
            secret=field.metadata["secret"],
            aliases=field.metadata["aliases"],
        )
        for field in attrs.fields(fields_of)
    )
