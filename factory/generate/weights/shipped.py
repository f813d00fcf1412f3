"""The weights that come with the package: `shipped:NAME` in place of a file's path."""

from importlib.resources import files
from pathlib import Path

from factory.errors import WeightsError
from factory.generate import SHIPPED
from factory.spec.shipped import SHIPPED_PREFIX


def find_shipped_weights(weights: str, where: str) -> Path | None:
    """The file of `shipped:NAME`; None if `weights` is something else.

    Raises:
        WeightsError: If no weights of that name are shipped; `where` names the argument or setting.
    """
    name = weights.removeprefix(SHIPPED_PREFIX)
    if name == weights:
        return None
    if name not in SHIPPED:
        raise WeightsError(f"{where}: nothing shipped as {name!r}; shipped: {', '.join(SHIPPED)}")
    return Path(str(files("factory.generate") / SHIPPED[name]))
