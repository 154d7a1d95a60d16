/** The SDK's suite on a real daemon: socket, journal, isolates and all. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { get } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { runDaemon } from '../../daemon/main.ts'
import { connect } from '../../sdk/src/index.ts'
import { sdkSuite } from '../contract/sdk-suite.ts'
import type { SdkTarget } from '../contract/sdk-target.ts'

async function startReal(): Promise<SdkTarget> {
  const home = await mkdtemp(join(tmpdir(), 'mh-e2e-'))
  const flags = { 'discovery.mdns': 'false', 'net.listen': '/ip4/127.0.0.1/tcp/0', 'log.level': 'silent', drainMs: '0' }
  const daemon = await runDaemon({ env: { ...process.env, MANYHANDS_HOME: home }, flags })
  return {
    home,
    async stop() {
      await daemon.stop()
      await rm(home, { recursive: true, force: true })
    },
  }
}

sdkSuite('a real daemon', startReal)

async function metricsOf(home: string): Promise<string> {
  const token = (await readFile(join(home, 'data', 'token'), 'utf8')).trim()
  const options = { socketPath: join(home, 'run', 'daemon.sock'), path: '/metrics', agent: false }
  return new Promise((resolve, reject) => {
    const request = get({ ...options, headers: { authorization: `Bearer ${token}` } }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk
      })
      response.on('end', () => resolve(text))
    })
    request.on('error', reject)
  })
}

it('counts its work, its syncs and its clients', async () => {
  const target = await startReal()
  const mesh = await connect({ home: target.home })
  try {
    const session = await mesh.session('export default (n) => n')
    await mesh.run('export default () => 1')
    await mesh.run('export default () => { throw new Error("no") }').catch(() => undefined)
    const text = await metricsOf(target.home)
    expect(text).toContain('manyhands_work_total{outcome="ok"} 1\n')
    expect(text).toContain('manyhands_work_total{outcome="E_GUEST"} 1\n')
    expect(text).toMatch(/^manyhands_journal_batch_records_count [1-9]/m)
    expect(text).toMatch(/^manyhands_journal_sync_seconds_sum 0\.\d*[1-9]/m)
    expect(text).toContain('manyhands_api_clients{kind="duplexes"} 1\n')
    await session.close()
  } finally {
    await mesh.close()
    await target.stop()
  }
})

it('API-14 a named token connects, may what it is for, and ends when it is revoked', async () => {
  const target = await startReal()
  const owner = await connect({ home: target.home })
  try {
    const token = await owner.createToken({ name: 'watcher', access: 'read' })
    const watcher = await connect({ home: target.home, token })
    expect((await watcher.status()).id).toBe((await owner.status()).id)
    await expect(watcher.run('export default () => 1')).rejects.toMatchObject({ code: 'E_FORBIDDEN' })
    await watcher.close()
    await owner.revokeToken('watcher')
    await expect(connect({ home: target.home, token })).rejects.toMatchObject({ code: 'E_UNPROVEN' })
  } finally {
    await owner.close()
    await target.stop()
  }
})

it('F30: a start that is asked to end opens no API, and the next one finds the node as it was', async () => {
  const home = await mkdtemp(join(tmpdir(), 'mh-e2e-'))
  const flags = { 'discovery.mdns': 'false', 'net.listen': '/ip4/127.0.0.1/tcp/0', 'log.level': 'silent', drainMs: '0' }
  const options = { env: { ...process.env, MANYHANDS_HOME: home }, flags }
  const reason = new Error('asked to stop')
  try {
    await expect(runDaemon(options, AbortSignal.abort(reason))).rejects.toBe(reason)
    expect(await readdir(join(home, 'run'))).toEqual([])
    const daemon = await runDaemon(options)
    expect(daemon.mesh.members).toBe(1)
    await daemon.stop()
  } finally {
    await rm(home, { recursive: true, force: true })
  }
})
