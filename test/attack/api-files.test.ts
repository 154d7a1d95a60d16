/** More clients than the process may open files: THREATS RES-03. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'

const SERVER = new URL('../../daemon/api/testing/serve.ts', import.meta.url).pathname

function status(socketPath: string, token: string): Promise<number | undefined> {
  return new Promise((resolve) => {
    const sent = request(
      { socketPath, path: '/v0/status', agent: false, headers: { authorization: `Bearer ${token}` }, timeout: 2_000 },
      (response) => {
        response.resume()
        resolve(response.statusCode)
      },
    )
    sent.on('timeout', () => sent.destroy())
    sent.on('error', () => resolve(undefined))
    sent.end()
  })
}

it.runIf(existsSync('/usr/bin/prlimit'))('RES-03 sheds load with 256 files and 400 clients, and recovers', async () => {
  const home = mkdtempSync(join(tmpdir(), 'manyhands-files-'))
  const child = spawn('/usr/bin/prlimit', ['--nofile=256', process.execPath, SERVER, home], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const sockets: Socket[] = []
  try {
    const [line] = (await once(child.stdout.setEncoding('utf8'), 'data')) as [string]
    const { socket: path, token } = JSON.parse(line) as { socket: string; token: string }
    expect(await status(path, token)).toBe(200)
    let failed = 0
    for (let i = 0; i < 400; i++) {
      const socket = connect({ path })
      socket.on('error', () => (failed += 1))
      socket.write(`GET /v0/events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${token}\r\n\r\n`)
      socket.resume()
      sockets.push(socket)
    }
    await expect
      .poll(() => sockets.filter((socket) => socket.destroyed).length, { timeout: 10_000 })
      .toBeGreaterThan(200)
    expect(child.exitCode).toBeNull()
    expect(failed).toBeLessThanOrEqual(400)
    for (const socket of sockets) socket.destroy()
    await expect.poll(() => status(path, token), { timeout: 10_000 }).toBe(200)
    expect(child.exitCode).toBeNull()
  } finally {
    for (const socket of sockets) socket.destroy()
    child.kill('SIGTERM')
    await once(child, 'exit')
    rmSync(home, { recursive: true, force: true })
  }
})
