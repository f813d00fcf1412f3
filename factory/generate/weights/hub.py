"""Weights on the Hugging Face Hub: where `hf://owner/name[@revision]/file` lies, and the login for it.

Both as the hub's own client (an extra) has them: mirrors (`HF_ENDPOINT`), and the token of
`hf auth login` or `HF_TOKEN`. What lies there is downloaded like any other file.
"""

import os
import re
from urllib.parse import unquote

from factory.errors import PluginError, WeightsError

_ADDRESS = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([^/\s]+))?/(.+)", re.IGNORECASE)
_WHERE = "dataset.generator.weights"


def locate_on_hub(address: str) -> tuple[str, str]:
    """The https address of a file on the hub, and the header that sends the login; "" if there is none.

    Raises:
        PluginError: If the hub's client is not installed.
        WeightsError: If it is no such address, or the hub's is not https.
    """
    repository, revision, name = _split(address)
    try:
        from huggingface_hub import get_token, hf_hub_url
        from huggingface_hub.errors import HFValidationError
    except ModuleNotFoundError as error:
        raise PluginError(
            where=_WHERE,
            found=f"{address} needs {error.name}, which is not installed here",
            remedy="pip install 'maskfactory[hub]'",
        ) from error
    hub = os.environ.get("HF_ENDPOINT")  # the client looks only when it is imported
    try:
        url = hf_hub_url(repository, name, revision=revision, endpoint=hub)
    except HFValidationError as error:
        raise _no_address(address) from error
    if not url.startswith("https://"):
        raise WeightsError(
            where="HF_ENDPOINT",
            found=f"found {hub!r}, which would send the login unencrypted",
            allowed="an address that begins with https://",
            remedy="give that one, or download the file and give its path",
        )
    token = get_token()
    return url, f"Bearer {token}" if token else ""


def _split(address: str) -> tuple[str, str | None, str]:
    """Repository, revision and file that an address names.

    Raises:
        WeightsError: If it is none.
    """
    found = _ADDRESS.fullmatch(address)
    name = unquote(found[3]) if found else ""
    if found is None or not {"", ".", ".."}.isdisjoint(name.split("/")):
        raise _no_address(address)
    return found[1], unquote(found[2]) if found[2] else None, name


def _no_address(address: str) -> WeightsError:
    return WeightsError(
        where=_WHERE,
        found=f"found {address!r}",
        allowed="a file on the hub is hf://owner/name/file or hf://owner/name@revision/file",
        remedy="take owner, name and file from its page; a revision is a branch, a tag or a commit",
    )
