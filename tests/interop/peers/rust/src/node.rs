//! A running swarm: a task of its own polls it and takes commands.
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{StreamExt, channel::oneshot};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, Swarm, SwarmBuilder, autonat, identify, noise, ping,
    relay,
    swarm::{
        ConnectionId, NetworkBehaviour, SwarmEvent, behaviour::toggle::Toggle, dial_opts::DialOpts,
    },
    yamux,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{
    Result, arg, flag,
    protocols::Served,
    streams::{Openers, Streams},
};

const PING_INTERVAL: Duration = Duration::from_secs(1); // rust-libp2p pings when it wants: often, then
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

#[derive(NetworkBehaviour)]
struct Behaviour {
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    streams: Streams,
    circuit: relay::client::Behaviour,
    relay: Toggle<relay::Behaviour>,
    asks_autonat: Toggle<autonat::v2::client::Behaviour>,
    answers_autonat: Toggle<autonat::v2::server::Behaviour>,
}

enum Command {
    Dial(Multiaddr, oneshot::Sender<Result<PeerId>>),
    Identify(PeerId, oneshot::Sender<Value>),
    Ping(PeerId, oneshot::Sender<Result<Duration>>),
    Close(PeerId, oneshot::Sender<()>),
}

type Connections = Arc<Mutex<HashMap<PeerId, Vec<ConnectionId>>>>;

pub struct Node {
    pub id: PeerId,
    pub served: Served,
    connections: Connections,
    openers: Openers,
    commands: mpsc::UnboundedSender<Command>,
}

impl Node {
    /// The node, and where it listens.
    pub async fn start() -> Result<(Node, Multiaddr)> {
        let mut swarm = build()?;
        let ip = arg("ip", "127.0.0.1");
        let listen = match arg("transport", "tcp").as_str() {
            "tcp" => format!("/ip4/{ip}/tcp/0"),
            "quic-v1" => format!("/ip4/{ip}/udp/0/quic-v1"),
            other => return Err(format!("no transport {other:?}").into()),
        };
        swarm.listen_on(listen.parse()?)?;
        let addr = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        };
        swarm.add_external_address(addr.clone()); // or its relay would be mute
        let (commands, received) = mpsc::unbounded_channel();
        let streams = &swarm.behaviour().streams;
        let node = Node {
            id: *swarm.local_peer_id(),
            served: streams.served.clone(),
            openers: streams.openers.clone(),
            connections: Connections::default(),
            commands,
        };
        tokio::spawn(drive(swarm, received, node.connections.clone()));
        let addr = addr.with_p2p(node.id).map_err(|addr| format!("another's address: {addr}"))?;
        Ok((node, addr))
    }

    async fn command<T>(&self, make: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T> {
        let (reply, done) = oneshot::channel();
        self.commands.send(make(reply))?;
        Ok(done.await?)
    }

    pub async fn dial(&self, addr: Multiaddr) -> Result<PeerId> {
        self.command(|reply| Command::Dial(addr, reply)).await?
    }

    pub async fn identify(&self, peer: PeerId) -> Result<Value> {
        self.command(|reply| Command::Identify(peer, reply)).await
    }

    pub async fn ping(&self, peer: PeerId) -> Result<Duration> {
        self.command(|reply| Command::Ping(peer, reply)).await?
    }

    pub async fn close(&self, peer: PeerId) -> Result<()> {
        self.command(|reply| Command::Close(peer, reply)).await
    }

    pub fn connections(&self, peer: PeerId) -> Vec<ConnectionId> {
        self.connections.lock().unwrap().get(&peer).cloned().unwrap_or_default()
    }

    pub async fn open(&self, peer: PeerId, name: StreamProtocol) -> Result<Stream> {
        let on = *self.connections(peer).first().ok_or("no connection")?;
        let (reply, done) = oneshot::channel();
        self.openers.lock().unwrap().get(&on).ok_or("connection closed")?.send((name, reply))?;
        done.await?
    }
}

fn build() -> Result<Swarm<Behaviour>> {
    let autonat = flag("autonat");
    Ok(SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(Default::default(), noise::Config::new, yamux::Config::default)?
        .with_quic()
        .with_relay_client(noise::Config::new, yamux::Config::default)?
        .with_behaviour(|key, circuit| {
            let id = PeerId::from(key.public());
            Behaviour {
                identify: identify::Behaviour::new(
                    identify::Config::new("ipfs/0.1.0".into(), key.public())
                        .with_agent_version("rust-libp2p/0.57.1".into()),
                ),
                ping: ping::Behaviour::new(ping::Config::new().with_interval(PING_INTERVAL)),
                streams: Streams::default(),
                circuit,
                relay: flag("relay").then(|| relay::Behaviour::new(id, Default::default())).into(),
                asks_autonat: autonat.then(Default::default).into(),
                answers_autonat: autonat.then(Default::default).into(),
            }
        })?
        .with_swarm_config(|c| c.with_idle_connection_timeout(IDLE_TIMEOUT))
        .build())
}

/// What was asked and is not answered yet, and what identify has said.
#[derive(Default)]
struct Asked {
    dials: HashMap<ConnectionId, oneshot::Sender<Result<PeerId>>>,
    identifies: HashMap<PeerId, Vec<oneshot::Sender<Value>>>,
    pings: HashMap<PeerId, oneshot::Sender<Result<Duration>>>,
    closes: HashMap<PeerId, oneshot::Sender<()>>,
    identified: HashMap<PeerId, Value>,
}

async fn drive(
    mut swarm: Swarm<Behaviour>, mut commands: mpsc::UnboundedReceiver<Command>,
    connections: Connections,
) {
    let mut asked = Asked::default();
    loop {
        tokio::select! {
            Some(command) = commands.recv() => asked.take(&mut swarm, command),
            event = swarm.select_next_some() => asked.notice(event, &connections),
        }
    }
}

impl Asked {
    fn take(&mut self, swarm: &mut Swarm<Behaviour>, command: Command) {
        match command {
            Command::Dial(addr, reply) => {
                let opts = DialOpts::from(addr);
                let id = opts.connection_id();
                match swarm.dial(opts) {
                    Ok(()) => _ = self.dials.insert(id, reply),
                    Err(e) => _ = reply.send(Err(e.into())),
                }
            }
            Command::Identify(peer, reply) => match self.identified.get(&peer) {
                Some(info) => _ = reply.send(info.clone()),
                None => self.identifies.entry(peer).or_default().push(reply),
            },
            Command::Ping(peer, reply) => _ = self.pings.insert(peer, reply),
            Command::Close(peer, reply) => match swarm.disconnect_peer_id(peer) {
                Ok(()) => _ = self.closes.insert(peer, reply),
                Err(()) => _ = reply.send(()),
            },
        }
    }

    fn notice(&mut self, event: SwarmEvent<BehaviourEvent>, connections: &Connections) {
        match event {
            SwarmEvent::ConnectionEstablished { connection_id: id, peer_id: peer, .. } => {
                connections.lock().unwrap().entry(peer).or_default().push(id);
                _ = self.dials.remove(&id).map(|reply| reply.send(Ok(peer)));
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                _ = self.dials.remove(&connection_id).map(|reply| reply.send(Err(error.into())));
            }
            SwarmEvent::ConnectionClosed { connection_id, peer_id, num_established, .. } => {
                connections
                    .lock()
                    .unwrap()
                    .entry(peer_id)
                    .or_default()
                    .retain(|c| *c != connection_id);
                if num_established == 0 {
                    _ = self.closes.remove(&peer_id).map(|reply| reply.send(()));
                }
            }
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                peer_id,
                info,
                ..
            })) => {
                let info = described(&info);
                for reply in self.identifies.remove(&peer_id).unwrap_or_default() {
                    _ = reply.send(info.clone());
                }
                self.identified.insert(peer_id, info);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping)) => {
                let result = ping.result.map_err(Into::into);
                _ = self.pings.remove(&ping.peer).map(|reply| reply.send(result));
            }
            _ => {}
        }
    }
}

fn described(info: &identify::Info) -> Value {
    let names = |items: &[StreamProtocol]| items.iter().map(|p| p.to_string()).collect::<Vec<_>>();
    let addrs: Vec<_> = info.listen_addrs.iter().map(|addr| addr.to_string()).collect();
    json!({
        "agent": info.agent_version, "protocols": names(&info.protocols), "addrs": addrs,
        "observed": info.observed_addr.to_string(),
    })
}
