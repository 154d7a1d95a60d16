/** The SDK's suite on a real daemon: socket, journal, isolates and all. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runDaemon } from '../../daemon/main.ts'
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
