/**
 * Real daemons as a user starts them: own processes, identities and folders, joined by invite. Whoever makes one closes it; what is left of a test
 * that died ends with its process group, and its folder lies under the system's temporary one.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { connect, type Mesh } from '../../sdk/src/index.ts'

const run = promisify(execFile)
const BIN = fileURLToPath(new URL('../../bin/manyhands.mjs', import.meta.url))
const NODE = [process.execPath, BIN] as const
const START_MS = 30_000

/** Settings that make nodes on one host leave the rest of the network alone. */
const LOCAL: Readonly<Record<string, string>> = {
  'net.listen': '/ip4/127.0.0.1/tcp/0',
  'discovery.mdns': 'false',
}

export interface NodeOptions {
  readonly name: string
  /** Configuration by dotted key */
  readonly settings?: Readonly<Record<string, string>>
  readonly env?: Readonly<Record<string, string>>
  /** Program and leading arguments the daemon is started through, e.g. a tracer. */
  readonly through?: readonly string[]
}

export class RealNode {
  readonly home: string
  readonly name: string
  readonly #options: NodeOptions
  #child: ChildProcess | undefined
  #mesh: Mesh | undefined

  constructor(home: string, options: NodeOptions) {
    this.home = home
    this.name = options.name
    this.#options = options
  }

  get pid(): number {
    const pid = this.#child?.pid
    if (pid === undefined) throw new Error(`${this.name} is not running`)
    return pid
  }

  get running(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** Runs the CLI on this node: its exit code and what it printed. */
  async cli(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    return this.#cli(NODE, args)
  }

  async #cli(
    [program = '', ...first]: readonly string[],
    args: readonly string[],
  ): Promise<{ code: number; stdout: string; stderr: string }> {
    try {
      const { stdout, stderr } = await run(program, [...first, ...args], { env: this.#env(), maxBuffer: 64 << 20 })
      return { code: 0, stdout, stderr }
    } catch (error) {
      const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string }
      return { code, stdout, stderr }
    }
  }

  async join(invite: string): Promise<void> {
    const { code, stderr } = await this.#cli(
      [...(this.#options.through ?? []), ...NODE],
      ['join', invite, '--name', this.name],
    )
    if (code !== 0) throw new Error(`${this.name} could not join: ${stderr}`)
  }

  /** Starts the daemon and waits until it answers. */
  async up(): Promise<Mesh> {
    const { settings = {}, through = [] } = this.#options
    const flags = Object.entries({ name: this.name, ...LOCAL, ...settings }).flatMap(([key, value]) => [
      '--set',
      `${key}=${value}`,
    ])
    const [program = '', ...args] = [...through, ...NODE, 'up', ...flags]
    // A group of its own, so that what it started can be ended with it.
    const child = spawn(program, args, { env: this.#env(), stdio: ['ignore', 'pipe', 'pipe'], detached: true })
    this.#child = child
    const log = createWriteStream(join(this.home, 'output.log'), { flags: 'a' })
    child.stdout?.pipe(log, { end: false })
    child.stderr?.pipe(log, { end: false })
    child.once('close', () => log.end())
    await this.#mesh?.close()
    this.#mesh = undefined
    return this.sdk()
  }

  /** The client of the running daemon, waiting for it to answer. */
  async sdk(): Promise<Mesh> {
    if (this.#mesh !== undefined) return this.#mesh
    const deadline = Date.now() + START_MS
    for (;;) {
      try {
        this.#mesh = await connect({ home: this.home })
        return this.#mesh
      } catch (error) {
        if (!this.running) throw new Error(`${this.name} did not start: ${await this.log()}`)
        if (Date.now() > deadline) throw error
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    }
  }

  async log(): Promise<string> {
    const text = await readFile(join(this.home, 'output.log'), 'utf8').catch(() => '')
    return text.slice(-4_000)
  }

  signal(signal: NodeJS.Signals): void {
    process.kill(this.pid, signal)
  }

  /** Ends the daemon without a word, as a power cut does. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL')
  }

  /** Asks the daemon to stop and waits for it. @returns its exit code */
  async down(): Promise<number | null> {
    return this.#end('SIGTERM')
  }

  async #end(signal: NodeJS.Signals): Promise<number | null> {
    const child = this.#child
    if (child === undefined || !this.running) return child?.exitCode ?? null
    const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
    await this.#mesh?.close()
    this.#mesh = undefined
    child.kill('SIGCONT')
    child.kill(signal)
    return ended
  }

  /** Whatever is left of its process group. */
  reap(): void {
    const pid = this.#child?.pid
    if (pid === undefined) return
    try {
      process.kill(-pid, 'SIGKILL')
    } catch {
      // Nothing is left.
    }
  }

  #env(): NodeJS.ProcessEnv {
    const inherited = Object.entries(process.env).filter(
      ([key]) => !key.startsWith('MANYHANDS_') && !key.startsWith('VITEST'),
    )
    return { ...Object.fromEntries(inherited), ...this.#options.env, MANYHANDS_HOME: this.home }
  }
}

export class RealMesh {
  readonly nodes: RealNode[] = []
  readonly #folder: string

  private constructor(folder: string) {
    this.#folder = folder
  }

  /** The first node founds the mesh; the others join it by invites of the first. All are up and connected to it. */
  static async start(...options: readonly NodeOptions[]): Promise<RealMesh> {
    const mesh = new RealMesh(await mkdtemp(join(tmpdir(), 'mh-')))
    try {
      for (const each of options) await mesh.add(each)
      await mesh.connected()
      return mesh
    } catch (error) {
      await mesh.close()
      throw error
    }
  }

  /** An empty folder for a node that is not started. */
  node(options: NodeOptions): RealNode {
    const node = new RealNode(join(this.#folder, options.name), options)
    this.nodes.push(node)
    return node
  }

  async add(options: NodeOptions): Promise<RealNode> {
    const [founder] = this.nodes
    const node = this.node(options)
    await mkdir(node.home, { recursive: true, mode: 0o700 })
    if (founder !== undefined) {
      const { invite } = await (await founder.sdk()).invite()
      await node.join(invite)
    }
    await node.up()
    return node
  }

  /** Resolves when every running node is connected to every other and knows what it offers. */
  async connected(): Promise<void> {
    const running = this.nodes.filter((node) => node.running)
    for (const node of running) {
      const sdk = await node.sdk()
      await until(async () => {
        const peers = await sdk.peers()
        return peers.filter((peer) => peer.connected && peer.executors.length > 0).length >= running.length - 1
      }, `${node.name} is connected to the others`)
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.kill().catch(() => undefined)))
    for (const node of this.nodes) node.reap()
    await rm(this.#folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

export async function until(holds: () => Promise<boolean> | boolean, what: string, ms = 30_000): Promise<void> {
  const deadline = Date.now() + ms
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`did not come true within ${ms} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
