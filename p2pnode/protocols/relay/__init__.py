"""Circuit relay v2, and datagram circuits of our own beside it (specs/relay.md).

    client     reserve, connect, circuit_dialogue.CircuitRequester, auto_relay
    relay      hop, stop.StopRequester, admission, circuit_table, accounting, limits
    listener   stop.StopResponder, circuit_dialogue.CircuitResponder

The dialogues are machines for one stream each and decide nothing; the tables and the policy decide
and know no streams.  They meet in the swarm.
"""

from p2pnode.protocols.relay.accounting import (
    Ledger,
    MonthlyVolume,
    PeerUsage,
    Traffic,
    add_shares,
)
from p2pnode.protocols.relay.admission import (
    Admitted,
    CircuitAdmission,
    Client,
    Granted,
    Refused,
    ReservationEnded,
    ReservationTable,
    circuit_ledger,
    reservation_ledger,
)
from p2pnode.protocols.relay.auto_relay import AutoRelay, relay_network
from p2pnode.protocols.relay.circuit import (
    CircuitClosed,
    CircuitEndsSoon,
    CircuitKey,
    CircuitOffer,
    Leg,
    VolumeNearlySpent,
)
from p2pnode.protocols.relay.circuit_dialogue import (
    CircuitEnded,
    CircuitEnding,
    CircuitOffered,
    CircuitReady,
    CircuitRequester,
    CircuitResponder,
)
from p2pnode.protocols.relay.circuit_messages import DatagramLimit
from p2pnode.protocols.relay.circuit_table import CIRCUIT_TYPE, HEADER_SIZE, CircuitTable
from p2pnode.protocols.relay.connect import CircuitOpened, CircuitRefused, StreamConnector
from p2pnode.protocols.relay.hop import HopResponder
from p2pnode.protocols.relay.limits import GENEROUS, MODEST, AccessList, RelayLimits
from p2pnode.protocols.relay.messages import (
    ConnectRequest,
    Limit,
    Reservation,
    ReserveRequest,
    Status,
)
from p2pnode.protocols.relay.relay_clocks import Believed, RelayClocks
from p2pnode.protocols.relay.reserve import (
    NotReserved,
    ReservationRequester,
    Reserved,
    circuit_addrs,
)
from p2pnode.protocols.relay.stop import (
    StopAccepted,
    StopRefused,
    StopRequester,
    StopResponder,
)
from p2pnode.protocols.relay.voucher import Voucher, seal_voucher

__all__ = [
    "CIRCUIT_HOP_PROTOCOL_ID",
    "CIRCUIT_STOP_PROTOCOL_ID",
    "CIRCUIT_TYPE",
    "GENEROUS",
    "HEADER_SIZE",
    "HOP_PROTOCOL_ID",
    "MODEST",
    "STOP_PROTOCOL_ID",
    "AccessList",
    "Admitted",
    "AutoRelay",
    "Believed",
    "CircuitAdmission",
    "CircuitClosed",
    "CircuitEnded",
    "CircuitEnding",
    "CircuitEndsSoon",
    "CircuitKey",
    "CircuitOffer",
    "CircuitOffered",
    "CircuitOpened",
    "CircuitReady",
    "CircuitRefused",
    "CircuitRequester",
    "CircuitResponder",
    "CircuitTable",
    "Client",
    "ConnectRequest",
    "DatagramLimit",
    "Granted",
    "HopResponder",
    "Ledger",
    "Leg",
    "Limit",
    "MonthlyVolume",
    "NotReserved",
    "PeerUsage",
    "Refused",
    "RelayClocks",
    "RelayLimits",
    "Reservation",
    "ReservationEnded",
    "ReservationRequester",
    "ReservationTable",
    "ReserveRequest",
    "Reserved",
    "Status",
    "StopAccepted",
    "StopRefused",
    "StopRequester",
    "StopResponder",
    "StreamConnector",
    "Traffic",
    "VolumeNearlySpent",
    "Voucher",
    "add_shares",
    "circuit_addrs",
    "circuit_ledger",
    "relay_network",
    "reservation_ledger",
    "seal_voucher",
]

HOP_PROTOCOL_ID = "/libp2p/circuit/relay/0.2.0/hop"
STOP_PROTOCOL_ID = "/libp2p/circuit/relay/0.2.0/stop"
CIRCUIT_HOP_PROTOCOL_ID = "/p2pnode/circuit/1.0.0/hop"
CIRCUIT_STOP_PROTOCOL_ID = "/p2pnode/circuit/1.0.0/stop"
MAX_INBOUND_STREAMS_PER_PEER = 32  # of each; chosen: sixteen circuits, and as many being opened
