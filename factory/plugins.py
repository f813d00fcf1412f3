"""Find plugins by name and import them lazily.

A name is looked up in a package's literal table, in an entry point group, or as `module:attribute`,
which is the quickest way to try a plugin of one's own.
"""

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points

from factory.errors import PluginError


@dataclass(frozen=True, slots=True)
class Registry:
    """The plugins of one kind."""

    noun: str
    """What they are called in messages, e.g. `generator`."""
    group: str
    """Entry point group for plugins of other distributions."""
    table: Mapping[str, str]
    """Built-in plugins: name to `module:attribute`."""

    def names(self) -> list[str]:
        """All known names, sorted."""
        return sorted({*self.table, *(point.name for point in entry_points(group=self.group))})

    def target(self, name: str) -> str:
        """The `module:attribute` behind `name`, without importing it.

        Raises:
            PluginError: If nothing has that name.
        """
        if name in self.table:
            return self.table[name]
        if ":" in name:
            return name
        for point in entry_points(group=self.group, name=name):
            return point.value
        close = difflib.get_close_matches(name, self.names(), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        known = ", ".join(self.names())
        raise PluginError(
            f"no {self.noun} named {name!r}; known: {known}, or module:attribute{hint}"
        )

    def load(self, name: str) -> object:
        """Import the plugin called `name` and return it.

        Raises:
            PluginError: If nothing has that name, or what it points to cannot be imported.
        """
        return import_target(self.target(name), f"{self.noun} {name!r}")


def import_target(target: str, what: str) -> object:
    """Import what `target`, a `module:attribute`, points at. `what` names it in errors.

    Raises:
        PluginError: If it cannot be imported.
    """
    module_name, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise PluginError(
            f"{what}: cannot import {target!r} ({error}); "
            "check the spelling and that its package is installed here and on every worker"
        ) from error
