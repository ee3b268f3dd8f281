"""The datagrams' side of a swarm: who gets what has come, and what leaves; counted on the way.

    in     of circuits, unwrapped or passed on as a relay; probes; of dial-backs; of transports
    out    of transports, circuits wrapped; of dial-backs; what is relayed for others

It is gone through with every packet.
"""

from collections.abc import Sequence

from p2pnode.clock import Instant
from p2pnode.machine import Received, Transmit
from p2pnode.swarm.demultiplexer import demultiplex
from p2pnode.swarm.dial_back_side import DialBackSide
from p2pnode.swarm.services.calls import ServiceCalls
from p2pnode.swarm.services.registry import Services
from p2pnode.swarm.state import SwarmState
from p2pnode.transports.faults import Faults
from p2pnode.transports.registry import Transports


class DatagramSide:
    """Knows the packets of others' circuits that have not left yet."""

    def __init__(
        self,
        transports: Transports,
        dial_backs: DialBackSide,
        state: SwarmState,
        services: Services,
        calls: ServiceCalls,
        faults: Faults,
    ) -> None:
        self._transports = transports
        self._dial_backs = dial_backs
        self._state = state
        self._services = services
        self._calls = calls
        self._faults = faults
        self._forwarded: list[Transmit] = []

    def handle(self, batch: Sequence[Received], now: Instant) -> None:
        """Takes what sockets brought.  Untrusted; never raises."""
        state = self._state
        for received in batch:
            state.contacts.heard(received.remote.ip, now)
        if not state.udp_silence.is_over:
            state.udp_silence.on_heard()
        own, circuits, probes = demultiplex(batch)
        counts = state.byte_counts
        counts.received_directly += sum(len(received.buffer) for received in own)
        if self._dial_backs.sockets:
            strangers = [r for r in own if r.socket in self._dial_backs.sockets]
            if strangers:
                self._dial_backs.handle_received(strangers, now)
                own = [r for r in own if r.socket not in self._dial_backs.sockets]
        if circuits:
            ours, others = state.circuits.unwrap(circuits)
            counts.received_relayed += sum(len(received.buffer) for received in ours)
            own = [*own, *ours]
            if others:
                self._relay(others, now)
        for probe in probes:
            self._take_probe(probe, now)
        self._transports.handle_received(own, now)

    def poll(self, now: Instant) -> list[Transmit]:
        """Returns what may leave."""
        transmits, self._forwarded = self._forwarded, []
        state = self._state
        note, counts = state.contacts.note, state.byte_counts
        for transmit in self._transports.poll_transmits(now):
            if transmit.socket >= 0:
                note(transmit.remote.ip, now)
                counts.sent_directly += len(transmit.buffer)
                transmits.append(transmit)
            elif (wrapped := state.circuits.wrap(transmit)) is not None:
                counts.sent_relayed += len(transmit.buffer)
                transmits.append(wrapped)
        if transmits and not state.udp_silence.is_over:
            state.udp_silence.on_sent((transmit.remote.ip for transmit in transmits), now)
        if self._dial_backs.is_active:
            transmits += self._dial_backs.poll_transmits(now)
        if self._services.relay_server.has_circuits:
            transmits += self._calls.command(self._services.relay_server).poll_transmits(now)
        return transmits

    def _relay(self, packets: list[Received], now: Instant) -> None:
        try:
            self._calls.command(self._services.relay_server).handle_circuit_packets(packets, now)
        except Exception as error:
            self._faults.take(error)
        # Before the rest of the batch, which may be the end of a circuit's connection.
        self._forwarded += self._services.relay_server.poll_transmits(now)

    def _take_probe(self, probe: Received, now: Instant) -> None:
        payload = bytes(probe.buffer[: probe.segment_size])
        try:
            if probe.socket in self._dial_backs.sockets:
                self._calls.command(self._services.nat).on_knock(payload, probe.remote, now)
            else:
                client = self._calls.command(self._services.autonat_client)
                client.on_probe(payload, probe.remote, probe.socket, now)
        except Exception as error:
            self._faults.take(error)
