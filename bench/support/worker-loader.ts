/** workerd's Worker Loader: dynamic workers, driven over HTTP on loopback, as its users do. Installed into the temporary folder when wanted. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../../test/support/free-port.ts'

const VERSION = '1.20261117.1'
const FOLDER = join(tmpdir(), `manyhands-bench-workerd-${VERSION}`)

const LOADER = `
const wrap = 'import h from "./program.js"; import { WorkerEntrypoint } from "cloudflare:workers"; export default class extends WorkerEntrypoint { async run(text) { return JSON.stringify(await h(JSON.parse(text))) } }'
export default { async fetch(message, env) {
  const id = new URL(message.url).searchParams.get('id')
  const { code, input } = await message.json()
  const worker = env.LOADER.get(id, async () => ({ compatibilityDate: '2026-01-01', mainModule: 'main.js', modules: { 'main.js': wrap, 'program.js': code }, env: {}, globalOutbound: null }))
  return new Response(await worker.getEntrypoint().run(input))
} }`

const config = (port: number): string => `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = ( services = [ (name = "main", worker = .w) ], sockets = [ ( name = "http", address = "127.0.0.1:${port}", http = (), service = "main" ) ] );
const w :Workerd.Worker = ( modules = [ (name = "loader.mjs", esModule = embed "loader.mjs") ], compatibilityDate = "2026-01-01", bindings = [ (name = "LOADER", workerLoader = ()) ] );
`

export interface WorkerLoader {
  /** Runs `code` as the worker named `id`, made if there is none. */
  run(id: string, code: string, input: string): Promise<string>
  close(): void
}

/** Undefined when it cannot be had here. */
export async function startWorkerLoader(): Promise<WorkerLoader | undefined> {
  try {
    const binary = install()
    const port = await freePort()
    writeFileSync(join(FOLDER, 'loader.mjs'), LOADER)
    writeFileSync(join(FOLDER, `config-${port}.capnp`), config(port))
    const child = spawn(binary, ['serve', '--experimental', join(FOLDER, `config-${port}.capnp`)], { stdio: 'ignore' })
    return await connect(child, port)
  } catch {
    return undefined
  }
}

function install(): string {
  const binary = join(
    FOLDER,
    'node_modules',
    '@cloudflare',
    `workerd-linux-${process.arch === 'arm64' ? 'arm64' : '64'}`,
    'bin',
    'workerd',
  )
  if (existsSync(binary)) return binary
  mkdirSync(FOLDER, { recursive: true, mode: 0o700 })
  const args = ['install', '--prefix', FOLDER, '--no-audit', '--no-fund', '--ignore-scripts', `workerd@${VERSION}`]
  execFileSync('npm', args, { stdio: 'ignore', timeout: 120_000 })
  return binary
}

async function connect(child: ChildProcess, port: number): Promise<WorkerLoader> {
  const agent = new Agent({ keepAlive: true, maxSockets: 32 })
  const run = (id: string, code: string, input: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const options = { agent, port, host: '127.0.0.1', method: 'POST', path: `/run?id=${id}` }
      const message = request(options, (response) => {
        let text = ''
        response.setEncoding('utf8').on('data', (part: string) => (text += part))
        response.on('end', () => (response.statusCode === 200 ? resolve(text) : reject(new Error(text))))
      })
      message.on('error', reject)
      message.end(JSON.stringify({ code, input }))
    })
  const loader: WorkerLoader = {
    run,
    close() {
      agent.destroy()
      child.kill('SIGKILL')
    },
  }
  for (let attempt = 0; ; attempt++) {
    try {
      await run('probe', 'export default () => 1', 'null')
      return loader
    } catch (error) {
      if (attempt < 200 && child.exitCode === null) {
        await new Promise((resolve) => setTimeout(resolve, 25))
        continue
      }
      loader.close()
      throw error
    }
  }
}
