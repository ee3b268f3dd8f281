// The peer on js-libp2p: specs/interop.md has its command line, its commands and its protocols.
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { quic } from '@chainsafe/libp2p-quic'
import { autoNATv2 } from '@libp2p/autonat-v2'
import { circuitRelayServer, circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { identify } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { peerIdFromString } from '@libp2p/peer-id'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { ask } from './asking.mjs'
import { Served } from './protocols.mjs'

const COMMAND_TIMEOUT = 30_000 // milliseconds

const { values: options } = parseArgs({
  options: {
    transport: { type: 'string', default: 'tcp' },
    ip: { type: 'string', default: '127.0.0.1' },
    relay: { type: 'boolean', default: false },
    autonat: { type: 'boolean', default: false },
    warm: { type: 'boolean', default: false }
  }
})

const transports = {
  tcp: { make: tcp, listen: `/ip4/${options.ip}/tcp/0` },
  'quic-v1': { make: quic, listen: `/ip4/${options.ip}/udp/0/quic-v1` }
}
const { make, listen } = transports[options.transport]

const node = await createLibp2p({
  addresses: { listen: [listen] },
  transports: [make(), circuitRelayTransport()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  connectionGater: { denyDialMultiaddr: () => false }, // loopback is refused by default
  services: {
    identify: identify(),
    ping: ping(),
    ...(options.relay && { relay: circuitRelayServer() }),
    ...(options.autonat && { autonat: autoNATv2() })
  }
})

// What identify has said of each peer.
const identified = new Map()
node.addEventListener('peer:identify', ({ detail }) => identified.set(String(detail.peerId), {
  agent: detail.agentVersion,
  protocols: detail.protocols,
  addrs: detail.listenAddrs.map(String),
  observed: String(detail.observedAddr)
}))

const served = new Served()
await served.handle(node)

async function obey ({ do: what, addr, id, bytes, streams }) {
  const signal = AbortSignal.timeout(COMMAND_TIMEOUT)
  if (what === 'dial') return { id: String((await node.dial(multiaddr(addr), { signal })).remotePeer) }
  if (what === 'served') return served.counts
  return ask({ node, identified, to: peerIdFromString(id), what, bytes, streams, signal })
}

const say = answer => console.log(JSON.stringify(answer))

say({ id: String(node.peerId), addrs: node.getMultiaddrs().map(String) })
for await (const line of createInterface({ input: process.stdin })) {
  try {
    say(await obey(JSON.parse(line)))
  } catch (error) {
    console.error(error)
    say({ error: String(error) })
  }
}
process.exit(0)
