/**
 * What every agent inside a sandbox must do, however it is reached. Uses /bin/sh and the commonest commands alone. Tests of what an agent may leave out
 * run where it says it can.
 */
import { randomInt } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type {
  ByteDuplex,
  ExecOptions,
  GuestConnection,
  GuestProcess,
} from '../../daemon/exec/sandbox/guest/guest-connection.ts'
import { LIMITS } from '../../protocol/limits.ts'
import { waitForLog, waitForPort } from '../support/guest-wait.ts'
import { fileCases } from './guest-files-suite.ts'
import { code, collect, type Done, type GuestUnderTest, MIB, OK } from './guest-under-test.ts'

export function guestSuite(name: string, start: () => Promise<GuestUnderTest>): void {
  describe(`${name}:`, () => {
    let guest: GuestUnderTest
    let box: GuestConnection
    const run = (options: ExecOptions): Promise<Done> => collect(box.exec(options))
    const sh = (script: string, more: Partial<ExecOptions> = {}): Promise<Done> =>
      run({ argv: ['sh', '-c', script], ...more })
    const at = (path: string): string => `${guest.folder}/${path}`
    /** Commands that sleep, told apart from those of every other test of this host */
    const naps = randomInt(1_000_000, 9_000_000)
    const nap = (n: number): string => `sleep ${naps}${n}`
    /** Processes with this text in their command line, the search aside */
    const alive = async (text: string): Promise<number> => {
      const script = `n=0; for f in /proc/[0-9]*/cmdline; do case "$(tr '\\0' ' ' <"$f" 2>/dev/null)" in *${text.slice(0, 3)}""'${text.slice(3)}'*) n=$((n+1));; esac; done; echo $n`
      const { out, end } = await sh(script)
      expect(end).toEqual(OK)
      return Number(out)
    }
    const until = async (holds: () => Promise<boolean>): Promise<void> => {
      for (let tries = 0; tries < 100; tries++) {
        if (await holds()) return
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
      throw new Error('What was waited for did not happen')
    }

    // gVisor may take long to start and to end on a busy host
    beforeAll(async () => {
      guest = await start()
      box = guest.connection
    }, 150_000)
    afterAll(async () => {
      await guest?.stop()
    }, 90_000)

    describe('commands', () => {
      it('end with their code, both outputs apart', async () => {
        expect(await sh('echo out; echo err >&2; exit 3')).toEqual({
          out: 'out\n',
          err: 'err\n',
          end: { kind: 'exit', code: 3 },
        })
      })

      it('get folder, variables and arguments as they are', async () => {
        const argv = ['sh', '-c', 'pwd; printf "%s|" "$V" "$@"', 'x', 'a b', "'", '', '$HOME', 'ü\n']
        const done = await run({ argv, cwd: guest.folder, env: { V: 'a "b" $c' } })
        expect(done.out).toBe(`${guest.folder}\na "b" $c|a b|'||$HOME|ü\n|`)
      })

      it('read their input, and no more than that; bytes stay what they are', async () => {
        const bytes = Uint8Array.from({ length: 2048 }, (_, index) => index & 255)
        const process = box.exec({ argv: ['cat'], stdin: bytes })
        const parts: Uint8Array[] = []
        for await (const chunk of process.output) parts.push(chunk.bytes)
        expect(Buffer.concat(parts).equals(bytes)).toBe(true)
        expect((await sh('cat; echo end')).out).toBe('end\n')
      })

      it('say why they could not be started', async () => {
        const missing = await run({ argv: ['no-such-program'] })
        expect(missing.end).toMatchObject({ kind: 'not-started', code: 'E_NOT_FOUND' })
        const folder = await run({ argv: ['true'], cwd: '/no/such' })
        expect(folder.end).toMatchObject({ kind: 'not-started', code: 'E_NOT_FOUND' })
        const data = at('data')
        await box.files.write(data, 'x', { mode: 0o644 })
        expect((await run({ argv: [data] })).end).toMatchObject({ kind: 'not-started', code: 'E_FORBIDDEN' })
        expect(() => box.exec({ argv: [] })).toThrow(code('E_BAD_REQUEST'))
        expect(() => box.exec({ argv: ['a\0b'] })).toThrow(code('E_BAD_REQUEST'))
        expect(() => box.exec({ argv: ['true', 'x'.repeat(MIB)] })).toThrow(code('E_TOO_LARGE'))
      })

      it('run at once and do not disturb each other', async () => {
        const numbers = Array.from({ length: 24 }, (_, index) => index)
        const all = await Promise.all(
          numbers.map((number) => sh(`sleep 0.0${number % 7}; echo ${number}; exit ${number}`)),
        )
        expect(all.map(({ out, end }) => [out, end])).toEqual(
          numbers.map((number) => [`${number}\n`, { kind: 'exit', code: number }]),
        )
      })

      it('end for a signal, and say which', async () => {
        const process = box.exec({ argv: ['sleep', '50'] })
        process.signal('SIGUSR1')
        expect((await collect(process)).end).toEqual({ kind: 'signal', signal: 'SIGUSR1' })
      })

      it('SBX-26 end by timeout with all their descendants, whatever these ignore', async () => {
        // where only the group can be reached, nobody leaves it
        const leave = box.features.tree ? 'setsid ' : ''
        const done = await sh(
          `trap "" TERM INT HUP; (trap "" TERM; ${leave}sh -c 'trap "" TERM; ${nap(1)} & ${nap(1)}' &) ; ${nap(1)} & wait; ${nap(1)}`,
          { timeoutMs: 150 },
        )
        expect(done.end).toEqual({ kind: 'timeout' })
        await until(async () => (await alive(nap(1))) === 0)
      })

      it('end when they are canceled, and when they write too much', async () => {
        const stop = new AbortController()
        const process = box.exec({ argv: ['sh', '-c', `exec ${nap(2)}`], signal: stop.signal })
        setTimeout(() => stop.abort(), 50)
        expect((await collect(process)).end).toEqual({ kind: 'canceled' })
        const flood = await sh('while :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done', {
          maxOutputBytes: 10_000,
        })
        expect(flood.end).toEqual({ kind: 'output' })
        expect(flood.out.length).toBe(10_000)
        expect(await alive(nap(2))).toBe(0)
      })

      it('end although a descendant keeps their output open', async () => {
        const done = await sh(`echo $$; ${nap(3)} & echo $!; exit 0`)
        expect(done).toMatchObject({ err: '', end: OK })
        expect(await alive(nap(3))).toBe(1)
        await box.killAll()
        // a shell that is not the first process of its guest does not know whose children others left behind
        if (!box.features.tree) await sh(`kill -s KILL ${done.out.split('\n')[1]}`)
        await until(async () => (await alive(nap(3))) === 0)
      })

      it('are refused beyond a number, and go on after', async () => {
        const many: GuestProcess[] = []
        const fill = (): void => {
          for (let n = 0; n < 1000; n++) many.push(box.exec({ argv: ['sleep', '50'] }))
        }
        expect(fill).toThrow(code('E_OVERLOADED'))
        for (const process of many) process.stop(0)
        const kinds = new Set((await Promise.all(many.map((process) => process.ended))).map((end) => end.kind))
        expect([...kinds].filter((kind) => kind !== 'signal' && kind !== 'pids')).toEqual([])
        expect((await sh('echo well')).out).toBe('well\n')
      })
    })

    describe('background processes', () => {
      it('go on over conversations, with what they wrote', async () => {
        const script = 'i=0; while [ $i -lt 600 ]; do echo line $i; i=$((i+1)); sleep 0.05; done'
        const process = box.exec({ argv: ['sh', '-c', script], background: true, name: 'counter' })
        const foreground = box.exec({ argv: ['sh', '-c', `exec ${nap(4)}`] })
        await waitForLog(process, /line 2/, { timeoutMs: 10_000 })
        const older = box
        box = await guest.again()
        older.close()
        expect(await foreground.ended).toEqual({ kind: 'sandbox-lost' })
        const views = await box.processes()
        expect(views).toContainEqual(expect.objectContaining({ id: process.id, name: 'counter', running: true }))
        await until(async () => (await alive(nap(4))) === 0)
        const again = await box.attach(process.id)
        const lines = await waitForLog(again, /line \d+\n[^]*line 5\n/, { timeoutMs: 10_000 })
        expect(lines).toMatch(/^line 0\nline 1\n/)
        again.stop(0)
        expect(await again.ended).toEqual({ kind: 'signal', signal: 'SIGKILL' })
        const ended = (await box.processes()).find((view) => view.id === process.id)
        expect(ended?.running).toBe(false)
        await expect(box.attach(999_999)).rejects.toThrow(code('E_NOT_FOUND'))
      })

      it('are listed at every moment of their start', async () => {
        for (let n = 0; n < 30; n++) {
          const process = box.exec({ argv: ['true'], background: true, name: `early ${n}` })
          const views = await box.processes()
          const view = views.find(({ id }) => id === process.id)
          if (view !== undefined) expect(view).toMatchObject({ outputBytes: 0, name: `early ${n}` })
          expect(await process.ended).toEqual(OK)
        }
      })

      it('are followed and left as often as one likes, and go on', async () => {
        const process = box.exec({ argv: ['sh', '-c', `echo first; ${nap(5)}`], background: true })
        await until(async () =>
          (await box.processes()).some(({ id, outputBytes }) => id === process.id && outputBytes > 0),
        )
        for (let n = 0; n <= LIMITS.guestChannels; n++) {
          const follower = await box.attach(process.id)
          follower.release()
          if (n % 100 === 0) expect(await collect(follower)).toMatchObject({ end: { kind: 'canceled' } })
        }
        const kept = await box.attach(process.id)
        expect(await waitForLog(kept, /first/)).toBe('first\n')
        process.release()
        expect(await process.ended).toEqual({ kind: 'canceled' })
        expect(await alive(nap(5))).toBeGreaterThan(0)
        kept.stop(0)
        expect(await kept.ended).toEqual({ kind: 'signal', signal: 'SIGKILL' })
      })

      it('keep the last of a flood and do not wait for anybody', async () => {
        const script = 'head -c 3000000 /dev/zero | tr "\\0" x; echo; echo last'
        const process = box.exec({ argv: ['sh', '-c', script], background: true })
        await until(async () => (await box.processes()).some((view) => view.id === process.id && !view.running))
        const { out, end } = await collect(await box.attach(process.id))
        expect(end).toEqual(OK)
        expect(out.length).toBeLessThan(600_000)
        expect(out.endsWith('x\nlast\n')).toBe(true)
      })
    })

    fileCases({
      get box() {
        return box
      },
      get folder() {
        return guest.folder
      },
      at,
      sh,
      until,
    })

    describe('streams', () => {
      it('wait for a slow reader, with flat memory', async () => {
        if (!box.features.streamInput) return
        const process = box.exec({ argv: ['head', '-c', '50000000', '/dev/zero'] })
        await new Promise((resolve) => setTimeout(resolve, 300))
        let bytes = 0
        for await (const chunk of process.output) bytes += chunk.bytes.length
        expect(bytes).toBe(50_000_000)
        // and for a guest that does not read its input
        const sleeper = box.exec({ argv: ['sleep', '50'], stdin: 'stream' })
        let written = 0
        const writing = (async () => {
          for (let n = 0; n < 100; n++) {
            await sleeper.write(Buffer.alloc(64 << 10))
            written += 1
          }
        })()
        const failed = writing.then(
          () => undefined,
          (error: unknown) => error,
        )
        await new Promise((resolve) => setTimeout(resolve, 300))
        expect(written).toBeLessThan(20)
        sleeper.stop(0)
        expect(await failed).toMatchObject({ code: 'E_CONFLICT' })
      })

      it('take input while the command runs', async () => {
        if (!box.features.streamInput) {
          expect(() => box.exec({ argv: ['cat'], stdin: 'stream' })).toThrow(code('E_GUEST_FEATURE'))
          return
        }
        const process = box.exec({ argv: ['sh', '-c', 'while read line; do echo "got $line"; done'], stdin: 'stream' })
        const reading = process.output[Symbol.asyncIterator]()
        for (const word of ['one', 'two']) {
          await process.write(Buffer.from(`${word}\n`))
          const next = await reading.next()
          const bytes = next.done === true ? [] : next.value.bytes
          expect(Buffer.from(bytes).toString()).toBe(`got ${word}\n`)
        }
        process.endInput()
        expect(await process.ended).toEqual(OK)
        await expect(process.write(Buffer.from('x'))).rejects.toThrow(code('E_CONFLICT'))
      })

      it('read all that was written before the end of input, however late they read', async () => {
        if (!box.features.streamInput) return
        const process = box.exec({ argv: ['sh', '-c', 'read go; wc -c'], stdin: 'stream' })
        // More than the windows and pipes on the way hold: most of it waits here when the end is told
        const parts = [Buffer.from('\n'), Buffer.alloc(MIB), Buffer.alloc(MIB), Buffer.alloc(MIB)]
        const written = parts.map((part) => process.write(part))
        process.endInput()
        await expect(process.write(Buffer.from('x'))).rejects.toThrow(code('E_CONFLICT'))
        expect((await collect(process)).out.trim()).toBe(String(3 * MIB))
        await Promise.all(written)
      })

      it('can be a terminal, of a size that changes', async () => {
        if (!box.features.pty) {
          expect(() => box.exec({ argv: ['sh'], pty: { columns: 80, rows: 24 } })).toThrow(code('E_GUEST_FEATURE'))
          return
        }
        const process = box.exec({
          argv: ['sh', '-c', 'test -t 0 && stty size; read x; stty size; exit 4'],
          pty: { columns: 91, rows: 33 },
        })
        const seen = collect(process)
        await new Promise((resolve) => setTimeout(resolve, 100))
        process.resize({ columns: 120, rows: 40 })
        await process.write(Buffer.from('\n'))
        const { out, end } = await seen
        expect(out).toMatch(/33 91[^]*40 120/)
        expect(end).toEqual({ kind: 'exit', code: 4 })
        if (guest.typedSignals === false) return
        const interrupted = box.exec({ argv: ['sleep', '50'], pty: { columns: 80, rows: 24 } })
        await interrupted.write(Buffer.from('\x03'))
        expect(await interrupted.ended).toEqual({ kind: 'signal', signal: 'SIGINT' })
      })

      it('lead to ports of the guest', async () => {
        if (!box.features.ports || guest.echo === undefined) {
          await expect(box.dial(80)).rejects.toThrow()
          return
        }
        const echo = await guest.echo(box)
        await waitForPort(box, echo.port, { timeoutMs: 5000 })
        const talk = async (bytes: Buffer): Promise<Buffer> => {
          const socket = await box.dial(echo.port)
          const parts: Uint8Array[] = []
          const reading = (async () => {
            for await (const part of socket.readable) parts.push(part)
          })()
          await socket.write(bytes)
          socket.end()
          await reading
          await socket.closed
          return Buffer.concat(parts)
        }
        const sent = [Buffer.from('small'), Buffer.alloc(3 * MIB, 'port'), Buffer.alloc(MIB, 7)]
        const back = await Promise.all(sent.map(talk))
        expect(back.map((bytes, index) => sent[index]?.equals(bytes))).toEqual([true, true, true])
        echo.stop()
        await expect(box.dial(1)).rejects.toThrow(code('E_UNREACHABLE'))
        await expect(waitForPort(box, 1, { timeoutMs: 100 })).rejects.toThrow(code('E_TIMEOUT'))
      })
    })

    it('lets programs of the guest reach a port of the daemon, and gives it back', async () => {
      const { talk } = guest
      if (!box.features.ports || talk === undefined) {
        await expect(box.listen(8089, () => undefined)).rejects.toThrow()
        return
      }
      const lengths: number[] = []
      const upper = async (connection: ByteDuplex): Promise<void> => {
        const parts: Uint8Array[] = []
        for await (const part of connection.readable) parts.push(part)
        lengths.push(Buffer.concat(parts).length)
        await connection.write(Buffer.from(Buffer.concat(parts).toString().toUpperCase()))
        connection.end()
      }
      const port = 8089
      const first = await box.listen(port, (connection) => void upper(connection))
      await expect(box.listen(port, () => undefined)).rejects.toThrow(code('E_CONFLICT'))
      // More at once than wait in the agent, and more than a window in one
      const sent = [...Array.from({ length: 12 }, (_, n) => `text ${n}`), 'x'.repeat(3 * MIB)]
      const back = await Promise.all(sent.map((text) => talk(box, port, text)))
      expect(back.map((text) => text.length)).toEqual(sent.map((text) => text.length))
      expect(back).toEqual(sent.map((text) => text.toUpperCase()))
      expect(lengths).toHaveLength(sent.length)
      expect(box.activity.active).toBe(0)
      first.close()
      const second = await box.listen(port, (connection) => void upper(connection))
      expect(await talk(box, port, 'anew')).toBe('ANEW')
      second.close()
      const third = await box.listen(port, (connection) => connection.close())
      // TCP resets a connection that is closed before all that came was read
      const told = await talk(box, port, 'nobody').catch((error: unknown) => error)
      if (told !== '') expect(told).toMatchObject({ code: 'ECONNRESET' })
      third.close()
    })

    it('ends what is open when the connection is lost', async () => {
      const last = await guest.again()
      const process = last.exec({ argv: ['sleep', '50'] })
      const stream = last.files.readStream('/dev/zero')[Symbol.asyncIterator]()
      await expect(stream.next()).rejects.toThrow(code('E_BAD_REQUEST'))
      expect(last.activity.active).toBe(1)
      last.lost('engine-lost')
      expect(await process.ended).toEqual({ kind: 'engine-lost' })
      expect(() => last.exec({ argv: ['true'] })).toThrow(code('E_ENGINE_LOST'))
      await expect(last.ping()).rejects.toThrow(code('E_ENGINE_LOST'))
    })
  })
}
