"""Find plugins by name and import them lazily.

A name is looked up in a package's literal table, in an entry point group, or as `module:attribute`,
which is the quickest way to try a plugin of one's own.
"""

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import NoReturn

from factory.errors import JobError, PluginError, did_you_mean


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
        raise PluginError(
            found=f"no {self.noun} named {name!r}",
            allowed=f"known: {', '.join(self.names())}, or module:attribute",
            remedy=did_you_mean(name, self.names()),
        )

    def load(self, name: str) -> object:
        """Import the plugin called `name` and return it.

        Raises:
            PluginError: If nothing has that name, or what it points to cannot be imported.
        """
        return import_target(self.target(name), f"{self.noun} {name!r}")


@dataclass(frozen=True, slots=True)
class Role:
    """What a plugin of one kind is called with and has to be."""

    where: str
    """The setting that names it."""
    noun: str
    called_with: tuple[str, ...]
    """What it is called with, in order."""
    methods: tuple[str, ...]
    """At least one of these is a method of its class."""

    def check(self, kind: str, found: object) -> None:
        """Reject what can be no such plugin, without calling it.

        Raises:
            JobError: If it is a class without any of the methods, or takes other arguments.
        """
        if not callable(found):
            return
        if isinstance(found, type) and not any(hasattr(found, name) for name in self.methods):
            self.refuse(kind, f"a class without {' or '.join(self.methods)}")
        try:
            signature = inspect.signature(found)
        except (TypeError, ValueError):
            return  # some functions written in C have none
        try:
            signature.bind(*self.called_with)
        except TypeError:
            self.refuse(kind, f"it takes {_short(str(signature))}")

    def call(self, kind: str, found: object, *args: object) -> object:
        """Call a plugin's class or function; an object that is no callable is the plugin itself.

        Raises:
            JobError: If what `kind` names is no such plugin.
        """
        self.check(kind, found)
        if not callable(found):
            return found
        try:
            return found(*args)
        except (AttributeError, TypeError, ValueError) as error:
            # In a class it is a mistake of its author, who needs to see where.
            if isinstance(found, type):
                raise
            self.refuse(kind, _short(f"it raises {type(error).__name__}: {error}"), error)

    def refuse(self, kind: str, found: str, error: Exception | None = None) -> NoReturn:
        """Say that what `kind` names is no such plugin.

        Raises:
            JobError: Always.
        """
        raise JobError(
            where=self.where,
            found=f"found {kind!r}, which is no {self.noun}: {found}",
            allowed=f"a {self.noun} is a class, or a function that makes one, called with "
            + ", ".join(self.called_with),
        ) from error


_LONGEST_FINDING = 160


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_FINDING else f"{line[:_LONGEST_FINDING]}..."


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
