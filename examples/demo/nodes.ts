/** Three nodes on this host, started as a user starts them: one founds a mesh, the others join it by invite. */
import { execFile } from 'node:child_process'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { connect, type Mesh } from '@manyhands/sdk'

const run = promisify(execFile)
const BIN = fileURLToPath(new URL('../../bin/manyhands.mjs', import.meta.url))

/** Loopback only, and leases short enough that the work of a lost node comes back within seconds. */
const SETTINGS = [
  'net.listen=/ip4/127.0.0.1/tcp/0',
  'discovery.mdns=false',
  'api.port=0',
  'lease.durationMs=3000',
  'lease.renewMs=900',
  'lease.marginMs=300',
]

export class DemoNode {
  readonly name: string
  readonly home: string

  constructor(name: string, folder: string) {
    this.name = name
    this.home = join(folder, name)
  }

  async cli(...args: string[]): Promise<string> {
    const env = { ...process.env, MANYHANDS_HOME: this.home }
    const { stdout } = await run(process.execPath, [BIN, ...args], { env, maxBuffer: 16 << 20 })
    return stdout
  }

  async up(): Promise<void> {
    await mkdir(this.home, { recursive: true, mode: 0o700 })
    await this.cli('up', '--detach', ...[`name=${this.name}`, ...SETTINGS].flatMap((setting) => ['--set', setting]))
  }

  async joinBy(inviter: DemoNode): Promise<void> {
    await mkdir(this.home, { recursive: true, mode: 0o700 })
    const { invite } = JSON.parse(await inviter.cli('invite', '--json')) as { readonly invite: string }
    await this.cli('join', invite, '--name', this.name)
    await this.up()
  }

  connect(): Promise<Mesh> {
    return connect({ home: this.home })
  }

  /** Ends it as a power cut does. */
  async kill(): Promise<void> {
    const mesh = await this.connect()
    const { pid } = await mesh.status()
    process.kill(pid, 'SIGKILL')
    await mesh.close()
  }

  async down(): Promise<void> {
    await this.cli('down').catch(() => undefined)
  }
}

export async function startNodes(folder: string, names: readonly string[]): Promise<DemoNode[]> {
  const [first, ...others] = names.map((name) => new DemoNode(name, folder))
  if (first === undefined) return []
  await first.up()
  for (const other of others) await other.joinBy(first)
  return [first, ...others]
}

export async function stopNodes(nodes: readonly DemoNode[], folder: string): Promise<void> {
  await Promise.all(nodes.map((node) => node.down()))
  await rm(folder, { recursive: true, force: true, maxRetries: 5 })
}
