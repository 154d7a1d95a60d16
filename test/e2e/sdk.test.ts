/** The SDK's suite on a real daemon: socket, journal, isolates and all. */
import { mkdtemp, rm } from 'node:fs/promises'
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
