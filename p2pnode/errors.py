"""Every exception that p2pnode raises on purpose.

    P2PNodeError
    +-- LocalProtocolError         the caller asked for what the state forbids
    |   +-- ArgumentError          the caller gave a value that nothing can be made of; a ValueError
    +-- RemoteProtocolError        the peer broke a spec
    |   +-- DecodeError            malformed bytes; all that an *_untrusted function raises
    |   +-- TransportError         .code, .frame_type, .reason: closes the connection
    |   +-- HandshakeError         the peer could not be authenticated
    |       +-- PeerIdMismatch     .expected, .actual
    +-- ConnectionLost             what the users of a lost connection get
    |   +-- IdleTimeout
    |   +-- ClosedByPeer           .code, .reason
    |   +-- ClosedForViolation   .code, .reason: the peer broke a spec, and we closed it
    |   +-- ResetByPeer            the peer has forgotten the connection (stateless reset)
    |   +-- ClosedLocally
    |   |   +-- ClosedByFault     .fault: a bug of this program, met while it was served
    +-- StreamReset                .code: the peer gave up sending
    +-- StreamStopped              .code: the peer gave up receiving
    +-- DialError                  .attempts: one (address, reason) for each address tried
    |   +-- DialTimeout            nobody answered at an address
    +-- Undelivered                .count, .reason: a node's end cut off what was sent
    +-- NoAnswer                   a ping or identify that the peer did not answer
    +-- ProtocolNotSupported       .protocols: none of them is spoken by the peer
    +-- PeerBusy                   .protocols: the peer takes no more of them now; try again later
    +-- AddressError               a multiaddr or peer id that does not parse or cannot be used
    +-- KeyFileError               a key file that cannot be read, written or trusted
    +-- DataFolderError            a data folder that cannot be used
    |   +-- DataFolderInUse        another node has locked it
    +-- TraceFileError             a key log or a folder for qlog that is not ours alone
    +-- ListenError                an address that cannot be listened on
    +-- TransferError              a file that was not transferred; defined in
    |                              io/applications/file_transfer.py
    +-- BedError                   a test bed that cannot be made; defined in testbed/namespaces.py
    +-- SimulationError            a simulation that went wrong; defined in netsim/world.py

`Closed...` means that we closed it; `...ByPeer` that the other side did.

Rule: the text of each is one line, whatever a peer's words in it are.  Attributes have those words
as they came.
"""

from typing import Final, Self

from p2pnode.escape import printable, quoted

NO_ANSWER: Final = "no answer"
"""The reason of a dial to which nothing came back; whoever speaks to people explains it."""


class P2PNodeError(Exception):
    """Root of the tree; its text is one sentence for a person."""

    def __str__(self) -> str:
        return printable(super().__str__())

    def again(self) -> Self:
        """Returns an equal error to be raised where this one is kept.

        An error holds the frames that raised it, and with them all that was being done.
        """
        other = type(self).__new__(type(self), *self.args)
        other.__dict__.update(self.__dict__)
        other.__cause__ = self.__cause__
        return other


class LocalProtocolError(P2PNodeError):
    """The caller asked for what the state forbids: a bug on our side of the wire."""


class ArgumentError(LocalProtocolError, ValueError):
    """The caller gave a value that nothing can be made of."""


class RemoteProtocolError(P2PNodeError):
    """The peer broke a spec."""


class DecodeError(RemoteProtocolError):
    """Malformed bytes."""


class TransportError(RemoteProtocolError):
    """A violation that closes the connection (specs/transport.md, Errors)."""

    def __init__(self, code: int, reason: str, frame_type: int = 0) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.frame_type = frame_type


class HandshakeError(RemoteProtocolError):
    """The peer could not be authenticated."""


class PeerIdMismatch(HandshakeError):
    """Somebody else answered at the dialled address."""

    def __init__(self, expected: object, actual: object) -> None:
        super().__init__(f"expected peer {expected}, but {actual} answered")
        self.expected = expected
        self.actual = actual


class ConnectionLost(P2PNodeError):
    """The connection is gone."""


class IdleTimeout(ConnectionLost):
    """Nothing was heard from the peer for the idle timeout."""

    def __init__(self) -> None:
        super().__init__("the peer has not answered for too long")


class ClosedByPeer(ConnectionLost):
    """The peer closed the connection."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the peer closed the connection (code {code:#x}): {quoted(reason)}")
        self.code = code
        self.reason = reason


class ResetByPeer(ConnectionLost):
    """The peer has forgotten the connection, for instance because it restarted."""

    def __init__(self) -> None:
        super().__init__("the peer has forgotten this connection (it may have restarted)")


class ClosedForViolation(ConnectionLost):
    """We closed the connection for what the peer did."""

    def __init__(self, violation: TransportError) -> None:
        super().__init__(f"the peer broke the protocol: {violation.reason}")
        self.code = violation.code
        self.reason = violation.reason


class ClosedLocally(ConnectionLost):
    """We closed the connection ourselves."""

    def __init__(self, reason: str = "the connection was closed on this side") -> None:
        super().__init__(reason)


class ClosedByFault(ClosedLocally):
    """A bug of this program was met while the connection was served, and has cost it."""

    def __init__(self, fault: Exception) -> None:
        super().__init__(f"this program failed ({type(fault).__name__}): a bug, please report it")
        self.fault = fault


class StreamReset(P2PNodeError):
    """The peer gave up sending on a stream; what was not read is lost."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the peer reset the stream (code {code:#x})")
        self.code = code


class StreamStopped(P2PNodeError):
    """The peer gave up receiving on a stream."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the peer stopped reading the stream (code {code:#x})")
        self.code = code


class DialError(P2PNodeError):
    """No address led to the peer; the message says so, and why, in one sentence."""

    def __init__(self, message: str, attempts: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.attempts = attempts


class DialTimeout(DialError):
    """Nobody answered at an address."""


class Undelivered(P2PNodeError):
    """A node ended before its peers had all that was sent to them and finished."""

    def __init__(self, count: int, reason: str) -> None:
        streams = "1 stream" if count == 1 else f"{count} streams"
        super().__init__(f"what was sent on {streams} has not arrived as a whole: {reason}")
        self.count = count
        self.reason = reason


class NoAnswer(P2PNodeError):
    """The peer did not answer a ping or identify, or not as it should."""


class ProtocolNotSupported(P2PNodeError):
    """The peer speaks none of the offered protocols."""

    def __init__(self, protocols: tuple[str, ...]) -> None:
        super().__init__(f"the peer does not speak {' or '.join(protocols)}")
        self.protocols = protocols


class PeerBusy(P2PNodeError):
    """The peer speaks the protocol and has no room for a stream of it now: try again later.

    How much later is the caller's to choose; twice as long each time is polite.
    """

    def __init__(self, protocols: tuple[str, ...]) -> None:
        super().__init__(
            f"the peer is busy: it takes no more of {' or '.join(protocols)} now; try again later"
        )
        self.protocols = protocols


class AddressError(P2PNodeError):
    """A multiaddr or peer id that does not parse or cannot be used."""


class KeyFileError(P2PNodeError):
    """A key file that cannot be read, written or trusted."""


class DataFolderError(P2PNodeError):
    """A data folder that cannot be used."""


class DataFolderInUse(DataFolderError):
    """A data folder that another node has locked."""


class TraceFileError(P2PNodeError):
    """A key log or a folder for qlog that others own, can read or can write to."""


class ListenError(P2PNodeError):
    """An address that cannot be listened on."""
