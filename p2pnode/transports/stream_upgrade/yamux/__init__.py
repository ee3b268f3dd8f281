"""yamux: streams over one ordered byte link (specs/yamux.md).

Frames in `frame`; a stream's sending half in `send_half`, its receiving half is that of
`delivery`; who opens and forgets streams in `streams`; pings in `pings`; all of it in `session`.
"""

from p2pnode.transports.stream_upgrade.yamux.session import YamuxSession

__all__ = ["YamuxSession"]
