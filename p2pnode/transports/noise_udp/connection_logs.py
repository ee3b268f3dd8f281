"""What connections write for whoever debugs them: secrets and traces, where that is asked for."""

from collections.abc import Mapping

from p2pnode.clock import Instant, UnixTime
from p2pnode.machine import ConnectionHandle
from p2pnode.transports.noise_udp.config import TransportConfig
from p2pnode.transports.noise_udp.connection import Opening
from p2pnode.transports.noise_udp.key_log import connection_name, key_log_lines
from p2pnode.transports.noise_udp.qlog import Qlog


class ConnectionLogs:
    """Those of an endpoint's connections, until they are taken."""

    __slots__ = ("_config", "_lines", "_qlogs", "unix_offset")

    def __init__(self, config: TransportConfig, unix_offset: float) -> None:
        """`unix_offset` is the wall clock less the monotonic one, in seconds."""
        self._config = config
        self._lines: list[str] = []
        self._qlogs: dict[ConnectionHandle, Qlog] = {}
        self.unix_offset = unix_offset

    def begin(self, handle: ConnectionHandle, opening: Opening, now: Instant) -> Qlog | None:
        """A connection is made; returns its trace, where there is to be one."""
        if self._config.key_log:
            self._lines += key_log_lines(opening)
        if not self._config.qlog:
            return None
        qlog = self._qlogs[handle] = Qlog(
            is_initiator=opening.is_initiator,
            title=connection_name(opening),
            now=now,
            unix_now=UnixTime(now + self.unix_offset),
        )
        return qlog

    def poll_key_log(self) -> list[str]:
        """Returns the secrets since the last call."""
        lines, self._lines = self._lines, []
        return lines

    def poll_qlog(
        self, connections: Mapping[ConnectionHandle, object]
    ) -> list[tuple[str, list[str]]]:
        """Returns (trace name, JSON texts) since the last call.

        Traces of what is none of `connections` any more are complete by it.
        """
        found = [(qlog.name, qlog.poll_lines()) for qlog in self._qlogs.values()]
        self._qlogs = {h: qlog for h, qlog in self._qlogs.items() if h in connections}
        return [(name, lines) for name, lines in found if lines]
