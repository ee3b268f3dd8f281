//! Serves inbound streams, each in a task of its own, and opens streams on a given connection.
//!
//! libp2p-stream negotiates one outbound stream at a time, and resets inbound ones that come while
//! another waits to be accepted: with it there would never be many at once.
use std::{
    collections::HashMap,
    convert::Infallible,
    future::{Ready, ready},
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use futures::channel::oneshot;
use libp2p::{
    InboundUpgrade, Multiaddr, PeerId, Stream, StreamProtocol,
    core::{Endpoint, UpgradeInfo, transport::PortUse, upgrade::ReadyUpgrade},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, SubstreamProtocol, ToSwarm, handler::ConnectionEvent,
    },
};
use tokio::sync::mpsc;

use crate::{
    Result,
    protocols::{self, ALL, Served},
};

type Reply = oneshot::Sender<Result<Stream>>;
type Request = (StreamProtocol, Reply);
type Denied<T> = std::result::Result<T, ConnectionDenied>;

/// How to ask each connection for a stream.
pub type Openers = Arc<Mutex<HashMap<ConnectionId, mpsc::UnboundedSender<Request>>>>;

#[derive(Default)]
pub struct Streams {
    pub openers: Openers,
    pub served: Served,
}

impl Streams {
    fn handler(&self, id: ConnectionId) -> Handler {
        let (opener, requests) = mpsc::unbounded_channel();
        self.openers.lock().unwrap().insert(id, opener);
        Handler { requests, served: self.served.clone() }
    }
}

impl NetworkBehaviour for Streams {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self, id: ConnectionId, _: PeerId, _: &Multiaddr, _: &Multiaddr,
    ) -> Denied<Handler> {
        Ok(self.handler(id))
    }

    fn handle_established_outbound_connection(
        &mut self, id: ConnectionId, _: PeerId, _: &Multiaddr, _: Endpoint, _: PortUse,
    ) -> Denied<Handler> {
        Ok(self.handler(id))
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        if let FromSwarm::ConnectionClosed(closed) = event {
            self.openers.lock().unwrap().remove(&closed.connection_id);
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: Infallible) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, Infallible>> {
        Poll::Pending
    }
}

/// Any of our protocols, inbound.
pub struct Any;

impl UpgradeInfo for Any {
    type Info = StreamProtocol;
    type InfoIter = [StreamProtocol; 6];

    fn protocol_info(&self) -> Self::InfoIter {
        ALL
    }
}

impl InboundUpgrade<Stream> for Any {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<std::result::Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}

pub struct Handler {
    requests: mpsc::UnboundedReceiver<Request>,
    served: Served,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = Any;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Reply;

    fn listen_protocol(&self) -> SubstreamProtocol<Any> {
        SubstreamProtocol::new(Any, ())
    }

    fn poll(
        &mut self, cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Reply, Infallible>> {
        match self.requests.poll_recv(cx) {
            Poll::Ready(Some((name, reply))) => {
                let protocol = SubstreamProtocol::new(ReadyUpgrade::new(name), reply);
                Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol })
            }
            _ => Poll::Pending,
        }
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(
        &mut self, event: ConnectionEvent<Any, Self::OutboundProtocol, (), Reply>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(inbound) => {
                let (stream, protocol) = inbound.protocol;
                tokio::spawn(protocols::serve(stream, protocol, self.served.clone()));
            }
            ConnectionEvent::FullyNegotiatedOutbound(opened) => {
                _ = opened.info.send(Ok(opened.protocol));
            }
            ConnectionEvent::DialUpgradeError(failed) => {
                _ = failed.info.send(Err(failed.error.to_string().into()));
            }
            _ => {}
        }
    }
}
