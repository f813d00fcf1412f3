"""Tell a web address how a run ended: one signed POST, retried. A run never fails because of it."""

import hashlib
import hmac
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from factory.errors import JobError, kind_in_words
from factory.redact import redact_values
from factory.spec.run import find_web_problem

Event = Literal["complete", "failed", "stopped", "target_missed"]

SECRET_VARIABLE = "FACTORY_NOTIFY_SECRET"  # noqa: S105 - the name of the variable, not the secret
"""The environment variable with the key of signatures."""
SIGNATURE_HEADER = "X-Factory-Signature"
"""`sha256=` and the HMAC-SHA256 of the body, in hexadecimal digits."""

_PAUSES_S = (1.0, 4.0, 16.0)
_TIMEOUT_S = 10.0
_WORTH_A_RETRY = (408, 425, 429)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A body with facts of a run goes where the job says, and nowhere else."""

    def redirect_request(self, *_args: object) -> None:
        """Follow none."""


_OPENER = urllib.request.build_opener(_NoRedirects)


def resolve_variable(value: str | None, setting: str) -> str:
    """The value of a setting, from the environment if it says `env:NAME`; empty if there is none.

    Raises:
        JobError: If the variable is not set.
    """
    if value is None or not value.startswith("env:"):
        return value or ""
    name = value.removeprefix("env:")
    found = os.environ.get(name, "").strip()
    if not found:
        raise _unusable(setting, name, "is no environment variable")
    return found


def resolve_address(value: str | None, setting: str) -> str:
    """As `resolve_variable`, for a web address that is called.

    Raises:
        JobError: If the variable is not set, or holds no address that can be called.
    """
    found = resolve_variable(value, setting)
    problem = find_web_problem(found) if found != value and found else ""
    if problem:
        assert value is not None  # an address was found in a variable
        raise _unusable(setting, value.removeprefix("env:"), f"holds {problem}")
    return found


def _unusable(setting: str, name: str, why: str) -> JobError:
    """The error for a variable, which is told without its value: often it is a secret."""
    remedy = f"set {name} where the run starts, or leave the setting out"
    return JobError(where=setting, found=f"{name} {why}", remedy=remedy)


def encode_event(event: Event, facts: Mapping[str, Any]) -> bytes:
    """Encode an event as JSON without secrets; `text` is a line for people, as chat servers want it."""
    line = f"maskfactory {facts['name']}: {event.replace('_', ' ')}"
    message = facts.get("message", "")
    document = {"event": event, "text": f"{line}: {message}" if message else line, **facts}
    return json.dumps(redact_values(document), sort_keys=True).encode()


def sign(body: bytes, secret: str) -> str:
    """The signature of a body, for a receiver that knows `secret`."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def post_event(
    address: str,
    body: bytes,
    *,
    pauses_s: Sequence[float] = _PAUSES_S,
    pause: Callable[[float], object] = time.sleep,
) -> str:
    """POST an encoded event; returns why it was not taken, without the address, or nothing.

    An answer that will be the same again is not asked for again.
    """
    headers = {"Content-Type": "application/json", "User-Agent": "maskfactory"}
    if secret := os.environ.get(SECRET_VARIABLE, ""):
        headers[SIGNATURE_HEADER] = sign(body, secret)
    try:
        request = urllib.request.Request(address, body, headers)  # noqa: S310 - web addresses only
    except ValueError:  # as its text could be in a log
        return "no web address"
    return send(request, pauses_s=pauses_s, pause=pause)


def send(
    request: urllib.request.Request,
    *,
    pauses_s: Sequence[float] = (),
    pause: Callable[[float], object] = time.sleep,
) -> str:
    """Send a request, again after each pause; returns why it failed, without the address, or nothing."""
    reason, is_final = _try(request)
    for seconds in pauses_s:
        if not reason or is_final:
            return reason
        pause(seconds)
        reason, is_final = _try(request)
    return reason


def _try(request: urllib.request.Request) -> tuple[str, bool]:
    """Send it once: why it failed, and whether another attempt would fail too."""
    try:
        with _OPENER.open(request, timeout=_TIMEOUT_S):
            return "", False
    except urllib.error.HTTPError as error:
        with error:
            return f"HTTP {error.code}", error.code < 500 and error.code not in _WORTH_A_RETRY
    except (OSError, http.client.HTTPException, ValueError) as error:
        # The text of such an error can hold the address, which may be a secret.
        reason = getattr(error, "reason", None) or error
        return getattr(reason, "strerror", None) or kind_in_words(reason), False
