/** What stands in the helper's place may say anything: it must end its own conversation at worst, never the daemon, nor make it hold much. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { LIMITS } from '../../../../../protocol/limits.ts'
import type { GuestTransport } from '../guest-connection.ts'
import { FrameReader } from './frame-reader.ts'
import { HelperConnection } from './helper-connection.ts'
import { END_HOW, frameParts, type Frame, FROM_GUEST, GuestProtocolError, HELPER_VERSION, u32 } from './wire.ts'

const encodeFrame = (...frame: Parameters<typeof frameParts>): Buffer => Buffer.concat(frameParts(...frame))
const TOKEN = '0123456789abcdef0123456789abcdef'

class Pipe implements GuestTransport {
  readonly sent: Uint8Array[] = []
  open = true
  say: (bytes: Uint8Array) => void = () => {}
  write(bytes: Uint8Array): boolean {
    this.sent.push(bytes)
    return true
  }
  onDrain(): void {}
  onData(listener: (bytes: Uint8Array, fd: 1 | 2) => void): void {
    this.say = (bytes) => {
      if (this.open) listener(bytes, 1)
    }
  }
  onEnd(): void {}
  pause(): void {}
  resume(): void {}
  close(): void {
    this.open = false
  }
}

const hello = (credit = 1 << 18): Buffer => {
  const body = Buffer.alloc(16)
  body.writeUInt16LE(HELPER_VERSION, 0)
  body.writeUInt16LE(256, 2)
  body.writeUInt32LE(credit, 4)
  return Buffer.concat([Buffer.from(TOKEN), encodeFrame(FROM_GUEST.hello, 0, 0, body)])
}

async function talk(): Promise<{ pipe: Pipe; box: HelperConnection }> {
  const pipe = new Pipe()
  const opening = HelperConnection.open(pipe, { token: TOKEN, cwd: '/' }, AbortSignal.timeout(5000))
  await Promise.resolve()
  pipe.say(hello())
  return { pipe, box: await opening }
}

const frames = fc.array(
  fc.record({
    channel: fc.oneof(fc.integer({ min: 0, max: 4 }), fc.integer({ min: 0, max: 0xffff_ffff })),
    type: fc.oneof(fc.constantFrom(...Object.values(FROM_GUEST)), fc.integer({ min: 0, max: 255 })),
    flag: fc.integer({ min: 0, max: 255 }),
    body: fc.uint8Array({ maxLength: 64 }),
  }),
  { maxLength: 30 },
)

describe('frames', () => {
  it('come out as they went in, however the bytes are cut and whatever came before the token', () => {
    fc.assert(
      fc.property(
        frames,
        fc.uint8Array({ maxLength: 100 }),
        fc.array(fc.integer({ min: 1, max: 50 })),
        (list, stale, cuts) => {
          const seen: Frame[] = []
          const reader = new FrameReader(TOKEN, (frame) => seen.push({ ...frame, body: Buffer.from(frame.body) }))
          const parts = list.map((frame) => encodeFrame(frame.type, frame.channel, frame.flag, frame.body))
          let bytes = Buffer.concat([stale, Buffer.from(TOKEN), ...parts])
          for (const cut of cuts) {
            reader.push(bytes.subarray(0, cut))
            bytes = bytes.subarray(cut)
          }
          if (bytes.length > 0) reader.push(bytes)
          expect(seen).toEqual(list.map((frame) => ({ ...frame, body: Buffer.from(frame.body) })))
        },
      ),
    )
  })

  it('of output come in pieces where they may, with every byte in its place, and others stay whole', () => {
    const cuts = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 })
    fc.assert(
      fc.property(frames, cuts, (list, sizes) => {
        const seen: string[] = []
        const told = ({ channel, type, flag }: Frame): string => `${channel} ${type} ${flag}`
        const reader = new FrameReader(
          TOKEN,
          (frame) => {
            if (frame.type !== FROM_GUEST.out || frame.channel % 2 === 1)
              seen.push(`${told(frame)} ${frame.body.toString('hex')}`)
            else for (const byte of frame.body) seen.push(`${told(frame)} ${byte}`)
          },
          (channel) => channel % 2 === 0,
        )
        const parts = list.map((frame) => encodeFrame(frame.type, frame.channel, frame.flag, frame.body))
        const bytes = Buffer.concat([Buffer.from(TOKEN), ...parts])
        for (let at = 0, turn = 0; at < bytes.length; turn++) {
          const size = sizes[turn % sizes.length] ?? 1
          reader.push(bytes.subarray(at, at + size))
          at += size
        }
        const whole = list.flatMap((frame) => {
          const given = { ...frame, body: Buffer.from(frame.body) }
          if (frame.type !== FROM_GUEST.out || frame.channel % 2 === 1)
            return [`${told(given)} ${given.body.toString('hex')}`]
          return Array.from(given.body, (byte) => `${told(given)} ${byte}`)
        })
        expect(seen).toEqual(whole)
      }),
    )
  })

  it('of too many bytes are refused before these come', () => {
    const reader = new FrameReader(TOKEN, () => {})
    reader.push(Buffer.from(TOKEN))
    const header = Buffer.alloc(12)
    header.writeUInt32LE(LIMITS.guestFrameBytes + 1, 0)
    expect(() => reader.push(header)).toThrow(GuestProtocolError)
    const deaf = new FrameReader(TOKEN, () => {})
    expect(() => {
      for (let n = 0; n < 70; n++) deaf.push(Buffer.alloc(1 << 20))
    }).toThrow(GuestProtocolError)
  })
})

describe('a guest that lies', () => {
  it('ends only its own conversation, and everything that waits for it', async () => {
    await fc.assert(
      fc.asyncProperty(frames, async (list) => {
        const { pipe, box } = await talk()
        const process = box.exec({ argv: ['true'] })
        const waiting = [
          box.files.read('/x'),
          box.files.list('/x'),
          box.files.stat('/x'),
          box.processes(),
          box.ping(),
          box.dial(80),
        ].map((one) =>
          one.then(
            () => undefined,
            (error: unknown) => error,
          ),
        )
        const output = (async () => {
          for await (const _ of process.output);
        })()
        for (const frame of list) pipe.say(encodeFrame(frame.type, frame.channel, frame.flag, frame.body))
        box.close()
        await Promise.all([...waiting, output, process.ended, box.closed])
        expect(pipe.open).toBe(false)
      }),
      { numRuns: 200 },
    )
  })

  const lies: readonly (readonly [string, (pipe: Pipe) => void])[] = [
    [
      'sends more than it has credit for',
      (pipe) => {
        const piece = encodeFrame(FROM_GUEST.out, 1, 1, Buffer.alloc(64 << 10))
        for (let n = 0; n < 17; n++) pipe.say(piece)
      },
    ],
    [
      'ends a channel twice',
      (pipe) => {
        for (let n = 0; n < 2; n++) pipe.say(encodeFrame(FROM_GUEST.end, 1, END_HOW.exit, u32(0)))
      },
    ],
    ['gives back credit that was not used', (pipe) => pipe.say(encodeFrame(FROM_GUEST.give, 1, 0, u32(1)))],
    ['answers a ping that was not sent', (pipe) => pipe.say(encodeFrame(FROM_GUEST.pong, 0, 0, u32(0)))],
    ['speaks of a channel that was not opened', (pipe) => pipe.say(encodeFrame(FROM_GUEST.out, 9, 1, Buffer.alloc(1)))],
    ['greets twice', (pipe) => pipe.say(hello().subarray(32))],
  ]
  for (const [what, lie] of lies) {
    it(`is left when it ${what}`, async () => {
      const { pipe, box } = await talk()
      const process = box.exec({ argv: ['true'] })
      lie(pipe)
      const error = await box.closed
      expect(error).toBeInstanceOf(GuestProtocolError)
      await process.ended
      expect(pipe.open).toBe(false)
    })
  }

  it('gives no path for a name, and no entry beyond its bytes', async () => {
    const stat = Buffer.alloc(26)
    for (const name of ['../x', 'a/b', '..', '']) {
      const { pipe, box } = await talk()
      const listing = box.files.list('/x').catch((error: unknown) => error)
      const length = Buffer.alloc(2)
      length.writeUInt16LE(name.length)
      pipe.say(encodeFrame(FROM_GUEST.out, 1, 1, Buffer.concat([stat, length, Buffer.from(name)])))
      expect(await box.closed).toBeInstanceOf(GuestProtocolError)
      expect(await listing).toMatchObject({ code: 'E_SANDBOX_LOST' })
    }
  })

  it('gives no time that is no date', async () => {
    for (const time of [2n ** 63n - 1n, -(2n ** 63n)]) {
      const { pipe, box } = await talk()
      const asked = box.files.stat('/x')
      const body = Buffer.alloc(26)
      body.writeBigInt64LE(time, 10)
      pipe.say(encodeFrame(FROM_GUEST.opened, 1, 0, body))
      pipe.say(encodeFrame(FROM_GUEST.end, 1, END_HOW.done, u32(0)))
      expect(new Date((await asked).modifiedMs).toISOString()).toMatch(/^[+-]\d{6}-/)
      box.close()
    }
  })

  it('is not waited for when it says nothing', async () => {
    const pipe = new Pipe()
    const opening = HelperConnection.open(pipe, { token: TOKEN, cwd: '/' }, AbortSignal.timeout(50))
    await expect(opening).rejects.toMatchObject({ code: 'E_SANDBOX_LOST' })
    expect(pipe.open).toBe(false)
  })
})
