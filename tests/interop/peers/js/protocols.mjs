// What this peer serves, and how the streams ended that others opened.
import { createHash } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'

export const ECHO = '/p2pnode/judge/echo/1.0.0'
export const LATE = '/p2pnode/judge/late/1.0.0'
export const TAKE = '/p2pnode/judge/take/1.0.0'
export const GIVE = '/p2pnode/judge/give/1.0.0'
export const HUSH = '/p2pnode/judge/hush/1.0.0'
export const RESET = '/p2pnode/judge/reset/1.0.0'

const BEFORE_READING = 1_000 // milliseconds
const BLOCK = 64 * 1024
const PERIOD = 251 // of the pattern: a prime, so that no piece of it can be mistaken for another

export const STREAMS = { runOnLimitedConnection: true, maxInboundStreams: 256, maxOutboundStreams: 256 }

export class Served {
  counts = { ended: 0, reset: 0, hushed: 0 }

  async handle (node) {
    const handlers = { [ECHO]: echo, [TAKE]: take, [LATE]: late, [GIVE]: give, [HUSH]: hush }
    for (const [protocol, handler] of Object.entries(handlers)) {
      await node.handle(protocol, stream => this.#count(stream, handler), STREAMS)
    }
    await node.handle(RESET, reset, STREAMS)
  }

  async #count (stream, handler) {
    try {
      this.counts.hushed += await handler(stream) ?? 0
      this.counts.ended++
    } catch (error) {
      console.error(error)
      this.counts.reset++
      stream.abort(error)
    }
  }
}

async function echo (stream) {
  for await (const data of stream) await send(stream, data.subarray())
  await stream.close()
}

async function take (stream) {
  const { bytes, digest } = await digestOf(stream)
  const answer = Buffer.alloc(8)
  answer.writeBigUInt64BE(BigInt(bytes))
  await send(stream, Buffer.concat([answer, digest]))
  await stream.close()
}

// An iterator would ask for what comes from its first moment.
async function late (stream) {
  await setTimeout(BEFORE_READING)
  await take(stream)
}

async function give (stream) {
  let header = Buffer.alloc(0)
  for await (const data of stream) {
    header = Buffer.concat([header, data.subarray()])
    if (header.length >= 8) break
  }
  await send(stream, pattern(Number(header.readBigUInt64BE())))
  await stream.close()
}

async function hush (stream) {
  await stream.close()
  return (await digestOf(stream)).bytes
}

async function reset (stream) {
  const [first] = [await stream[Symbol.asyncIterator]().next()]
  stream.abort(new Error(`asked for, by ${first.value?.byteLength} bytes`))
}

// Sends in pieces, as fast as the other end takes them.
export async function send (stream, data) {
  for (let at = 0; at < data.length; at += BLOCK) {
    if (!stream.send(data.subarray(at, at + BLOCK))) await stream.onDrain()
  }
}

// Reads to the end.
export async function digestOf (stream) {
  const hash = createHash('sha256')
  let bytes = 0
  // The iterator would wait for ever for an end that came before it was asked.
  const over = stream.remoteWriteStatus === 'closed' && stream.readBufferLength === 0
  if (!over) {
    for await (const data of stream) {
      hash.update(data.subarray())
      bytes += data.byteLength
    }
  }
  return { bytes, digest: hash.digest() }
}

export function pattern (bytes) {
  return Buffer.alloc(bytes, Uint8Array.from({ length: PERIOD }, (_, i) => i))
}
