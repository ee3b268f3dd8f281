// The commands that need a connection to a peer.
import { once } from 'node:events'
import { ECHO, GIVE, HUSH, LATE, RESET, STREAMS, TAKE, digestOf, pattern, send } from './protocols.mjs'

const asked = { identify, ping, close, connections, echo, send: sendAll, 'send-late': sendLate, receive, many, 'half-close': halfClose, reset, 'be-reset': beReset }

export async function ask (command) {
  const answer = asked[command.what]
  if (answer === undefined) throw new Error(`no command ${command.what}`)
  return answer(command)
}

async function identify ({ node, identified, to, signal }) {
  while (!identified.has(String(to))) await once(node, 'peer:identify', { signal })
  return identified.get(String(to))
}

async function ping ({ node, to, signal }) {
  return { rtt: await node.services.ping.ping(to, { signal }) / 1e3 }
}

async function close ({ node, to, signal }) {
  await node.hangUp(to, { signal })
  return {}
}

async function connections ({ node, to }) {
  return { connections: node.getConnections(to).length }
}

// Runs work on a new stream, which is aborted where that fails or takes too long.
async function onStream ({ node, to, signal }, protocol, work) {
  const [connection] = node.getConnections(to)
  if (connection === undefined) throw new Error('no connection')
  const stream = await connection.newStream(protocol, { ...STREAMS, signal })
  const late = () => stream.abort(signal.reason)
  signal.addEventListener('abort', late)
  try {
    return await work(stream)
  } catch (error) {
    stream.abort(error)
    throw error
  } finally {
    signal.removeEventListener('abort', late)
  }
}

async function echo (command) {
  return onStream(command, ECHO, async stream => {
    const [back] = await Promise.all([digestOf(stream), write(stream, pattern(command.bytes))])
    return digested(back)
  })
}

async function write (stream, data) {
  await send(stream, data)
  await stream.close()
}

async function sendLate (command) {
  return sendAll(command, LATE)
}

async function sendAll (command, protocol = TAKE) {
  return onStream(command, protocol, async stream => {
    const answer = readAll(stream)
    await write(stream, pattern(command.bytes))
    const said = await answer
    return digested({ bytes: Number(said.readBigUInt64BE()), digest: said.subarray(8) })
  })
}

async function receive (command) {
  return onStream(command, GIVE, async stream => {
    const header = Buffer.alloc(8)
    header.writeBigUInt64BE(BigInt(command.bytes))
    const back = digestOf(stream)
    await write(stream, header)
    return digested(await back)
  })
}

// All streams are open and echoing before the first of them is closed.
async function many (command) {
  const data = pattern(command.bytes)
  let left = command.streams
  let echoed
  const allEchoed = new Promise(resolve => { echoed = resolve })
  await Promise.all(Array.from({ length: command.streams }, () => onStream(command, ECHO, async stream => {
    const back = received(stream, data.length)
    const all = readAll(stream)
    await send(stream, data)
    await back
    if (--left === 0) echoed()
    await allEchoed
    await stream.close()
    if (!data.equals(await all)) throw new Error('another echo than was sent')
  })))
  return { streams: command.streams }
}

// Goes on sending after the other end has closed its direction.
async function halfClose (command) {
  return onStream(command, HUSH, async stream => {
    const { bytes } = await digestOf(stream)
    if (bytes > 0) throw new Error('a hushed stream says something')
    await write(stream, pattern(command.bytes))
    return {}
  })
}

async function reset (command) {
  return onStream(command, ECHO, async stream => {
    const back = received(stream, 1)
    await send(stream, pattern(1))
    await back
    stream.abort(new Error('asked for'))
    return {}
  })
}

async function beReset (command) {
  return onStream(command, RESET, async stream => {
    const over = Promise.race([once(stream, 'close'), once(stream, 'remoteCloseWrite')])
    await send(stream, pattern(1))
    await over
    return { reset: stream.status === 'reset' }
  })
}

// Resolves when that many bytes have come.
function received (stream, bytes) {
  return new Promise((resolve, reject) => {
    let came = 0
    stream.addEventListener('message', ({ data }) => {
      came += data.byteLength
      if (came >= bytes) resolve()
    })
    stream.addEventListener('close', ({ error }) => reject(error ?? new Error('closed')))
  })
}

async function readAll (stream) {
  const pieces = []
  for await (const data of stream) pieces.push(data.subarray())
  return Buffer.concat(pieces)
}

function digested ({ bytes, digest }) {
  return { bytes, sha256: digest.toString('hex') }
}
