"""Limits on connections: how many, how many of one peer, and how long a request may take to arrive.

Knows connections, not requests: who may ask for what is in `guard`.
"""

import asyncio
import errno
import ipaddress
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from factory.log import log_event

MOST_CONNECTIONS = 512
"""Open connections of a server."""
MOST_OF_ONE_PEER = 256
"""Open connections of one peer; the rest is left to others."""
REQUEST_LIMIT_S = 10.0
"""A request has to arrive whole, header and body, this long after the connection or its last answer."""
READING_LIMIT_S = 60.0
"""A caller that reads nothing of an answer for this long is disconnected."""

_LOG_EVERY_S = 60.0
_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE)


def is_out_of_files(error: BaseException | None) -> bool:
    """Whether `error` says that this process or this machine has no file descriptor left."""
    return isinstance(error, OSError) and error.errno in _OUT_OF_FILES


def peer_of(address: str) -> str:
    """The peer behind an address: IPv6 gives one household 2^64 addresses, which count as one.

    >>> peer_of("10.0.0.7"), peer_of("2001:db8::1:2"), peer_of("::ffff:10.0.0.7"), peer_of("unix")
    ('10.0.0.7', '2001:db8::/64', '10.0.0.7', 'unix')
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return address
    if found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((int(found), 64), strict=False))


class Connections:
    """The open connections of one server.

    At a limit, the connection that has been idle for the longest time is closed: a client that opens
    many and sends no request shuts out only itself.
    """

    def __init__(self) -> None:
        """Start without any."""
        self._peers: dict[Connection, str] = {}
        self._waiting: dict[Connection, None] = {}  # in the order in which they began to wait
        self._per_peer: Counter[str] = Counter()
        self._logged_at: dict[str, float] = {}

    def admit(self, connection: "Connection", peer: str) -> bool:
        """Count a new connection; False if the limit is reached and no connection is idle."""
        if self._per_peer[peer] >= MOST_OF_ONE_PEER:
            crowd = peer
        elif len(self._peers) >= MOST_CONNECTIONS:
            crowd = self._per_peer.most_common(1)[0][0]
        else:
            crowd = None
        if crowd is not None:
            self._log("too_many_connections", peer=crowd, limit=self._per_peer[crowd])
            oldest = next((one for one in self._waiting if self._peers[one] == crowd), None)
            if oldest is None:
                return False
            oldest.drop()
        self._peers[connection] = peer
        self._per_peer[peer] += 1
        return True

    def leave(self, connection: "Connection") -> None:
        """Stop counting a connection; one that is not counted is ignored."""
        self._waiting.pop(connection, None)
        peer = self._peers.pop(connection, None)
        if peer is not None:
            self._per_peer[peer] -= 1
            if not self._per_peer[peer]:
                del self._per_peer[peer]

    def waits(self, connection: "Connection", *, is_waiting: bool) -> None:
        """Note that a connection waits for a request from now on, or that it has one."""
        self._waiting.pop(connection, None)
        if is_waiting and connection in self._peers:
            self._waiting[connection] = None

    def on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handler of the event loop: without file descriptors, half of the idle connections are closed.

        The loop tries to accept again after a second, by itself. If the server was closed meanwhile,
        that fails, and nothing is lost.
        """
        error = context.get("exception")
        if isinstance(error, ValueError) and "_start_serving" in context.get("message", ""):
            return
        if not is_out_of_files(error):
            loop.default_exception_handler(context)
            return
        self._log(
            "out_of_file_descriptors",
            open_connections=len(self._peers),
            remedy="idle connections are closed; raise `ulimit -n` if it happens often",
        )
        # The loop reports many failures in a row, and closing once is enough.
        if self._is_due("close idle connections", 1.0):
            for one in list(self._waiting)[: (len(self._waiting) + 1) // 2]:
                one.drop()

    def _log(self, event: str, **facts: object) -> None:
        if self._is_due(event, _LOG_EVERY_S):
            log_event(event, level=logging.WARNING, **facts)

    def _is_due(self, what: str, every_s: float) -> bool:
        """Whether a rate-limited action was last done long enough ago to be done again."""
        now = asyncio.get_running_loop().time()
        if now - self._logged_at.get(what, -every_s) < every_s:
            return False
        self._logged_at[what] = now
        return True


class Connection(H11Protocol):
    """One connection: uvicorn's, with limits."""

    def __init__(self, *args: Any, connections: Connections, **kwargs: Any) -> None:  # noqa: ANN401
        """Create a connection that is counted in `connections`; the rest is uvicorn's."""
        super().__init__(*args, **kwargs)
        self._crowd = connections
        self._request_limit = _Timer(self.loop, REQUEST_LIMIT_S, self.drop)
        self._reading_limit = _Timer(self.loop, READING_LIMIT_S, self.drop)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection, or close it: an answer could only be given once its request was read."""
        super().connection_made(transport)
        address = transport.get_extra_info("peername")
        peer = peer_of(str(address[0])) if isinstance(address, tuple) else "unknown"
        if self._crowd.admit(self, peer):
            self._watch()
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_watching()
        self._reading_limit.stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what came; a few bytes more do not lengthen the time for a request."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request, with the whole time for it."""
        self._request_limit.stop()
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        """Limit how long the caller may leave an answer unread."""
        super().pause_writing()
        self._reading_limit.start()

    def resume_writing(self) -> None:
        """The caller reads again."""
        self._reading_limit.stop()
        super().resume_writing()

    def drop(self) -> None:
        """Close the connection at once, whatever is still to be sent."""
        self._stop_watching()
        self.transport.abort()

    def _watch(self) -> None:
        cycle = self.cycle
        has_request = cycle is not None and not cycle.response_complete and not cycle.more_body
        if has_request:
            self._request_limit.stop()
            self._crowd.waits(self, is_waiting=False)
        elif not self._request_limit.is_running:
            self._request_limit.start()
            self._crowd.waits(self, is_waiting=True)

    def _stop_watching(self) -> None:
        self._request_limit.stop()
        self._crowd.leave(self)


class _Timer:
    """Calls something once, unless it is stopped before."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, seconds: float, action: Callable[[], None]
    ) -> None:
        self._loop, self._seconds, self._action = loop, seconds, action
        self._handle: asyncio.TimerHandle | None = None

    @property
    def is_running(self) -> bool:
        return self._handle is not None

    def start(self) -> None:
        self.stop()
        self._handle = self._loop.call_later(self._seconds, self._action)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
