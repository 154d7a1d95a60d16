/**
 * A real Docker engine for tests: the one `DOCKER_HOST` names, or, as root with `dockerd` installed, one of our own that touches neither the
 * host's engine nor its network: private socket, data, bridge and firewall rules off. Test files of one run share it (`engine-setup.ts` ends it);
 * a file run without that set-up starts and ends its own. Everything a test makes carries the label `test.run=<unique>` of `runLabel`.
 */
import { execFile, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

const run = promisify(execFile)

export const TEST_IMAGE = 'manyhands-test/busybox:1'
/** Where `engine-setup.ts` tells the test files to put the shared engine */
export const SHARED_ENGINE_FOLDER = 'MANYHANDS_TEST_ENGINE_FOLDER'

const START_MS = 20_000

export interface TestEngine {
  readonly socket: string
  /** As `DOCKER_HOST` takes it */
  readonly host: string
  /** A small image with busybox alone, `/bin/sh` among its tools */
  readonly image: string
  /** Runtimes that really start a container here */
  readonly runtimes: readonly string[]
  close(): Promise<void>
}

export type FoundEngine = { readonly engine: TestEngine } | { readonly engine?: undefined; readonly missing: string }

/** Finds or starts an engine. Without one a test is skipped with the reason, loudly: `describe.skipIf(!found.engine)`. */
export async function findTestEngine(): Promise<FoundEngine> {
  const found = await engineSocket()
  if (!('socket' in found)) {
    console.warn(`Tests with a Docker engine are skipped: ${found.missing}`)
    return found
  }
  const { socket, close } = found
  try {
    await makeImage(socket)
    const host = `unix://${socket}`
    return { engine: { socket, host, image: TEST_IMAGE, runtimes: await workingRuntimes(socket), close } }
  } catch (error) {
    await close()
    throw error
  }
}

type FoundSocket = { readonly socket: string; close(): Promise<void> } | { readonly missing: string }

async function engineSocket(): Promise<FoundSocket> {
  const given = process.env['DOCKER_HOST']
  if (given !== undefined && given !== '') {
    const socket = given.replace(/^unix:\/\//, '')
    if (!given.startsWith('unix://')) return { missing: 'DOCKER_HOST is no unix socket' }
    return (await answers(socket)) ? { socket, close: async () => {} } : { missing: 'DOCKER_HOST does not answer' }
  }
  if (process.geteuid?.() !== 0) return { missing: 'DOCKER_HOST is not set, and only root can start an engine' }
  if (!existsSync('/usr/sbin/dockerd') && !existsSync('/usr/bin/dockerd'))
    return { missing: 'dockerd is not installed' }
  const shared = process.env[SHARED_ENGINE_FOLDER]
  return shared === undefined ? startOwn() : startShared(shared)
}

/** Of all files of a run that come here at once, one starts the engine and the others wait for it. */
async function startShared(folder: string): Promise<FoundSocket> {
  const socket = join(folder, 'docker.sock')
  try {
    closeSync(openSync(join(folder, 'starter'), 'wx'))
  } catch {
    await until(() => answers(socket), START_MS, 'the shared engine to answer')
    return { socket, close: async () => {} }
  }
  await startEngine(folder)
  return { socket, close: async () => {} }
}

async function startOwn(): Promise<FoundSocket> {
  const folder = mkdtempSync(join(tmpdir(), 'mh-engine-'))
  await startEngine(folder)
  return { socket: join(folder, 'docker.sock'), close: () => endEngine(folder) }
}

/** Starts `dockerd` with everything of it in `folder`; for tests that need to end and start an engine themselves. */
export async function startEngine(folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true })
  const config = join(folder, 'daemon.json')
  const runsc = existsSync('/usr/bin/runsc')
    ? { runsc: { path: '/usr/bin/runsc', runtimeArgs: ['--network=none'] } }
    : {}
  writeFileSync(config, JSON.stringify({ runtimes: runsc }))
  const log = openSync(join(folder, 'log'), 'a')
  const child = spawn(
    'dockerd',
    [
      ...['--config-file', config, '-H', `unix://${join(folder, 'docker.sock')}`],
      ...['--data-root', join(folder, 'data'), '--exec-root', join(folder, 'exec'), '--pidfile', join(folder, 'pid')],
      ...['--bridge=none', '--iptables=false', '--ip-masq=false', '--ip-forward=false'],
    ],
    { stdio: ['ignore', log, log], detached: true },
  )
  child.unref()
  closeSync(log)
  const failed = new Promise<never>((_, reject) => {
    child.once('error', reject)
    child.once('exit', () => reject(new Error(`dockerd ended: ${tail(join(folder, 'log'))}`)))
  })
  await Promise.race([until(() => answers(join(folder, 'docker.sock')), START_MS, 'dockerd to answer'), failed])
}

/** @param signal SIGKILL for a crash: its containers and their shims go on */
export async function stopEngine(folder: string, signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
  const pid = pidIn(folder)
  if (pid === undefined) return
  try {
    process.kill(pid, signal)
  } catch {
    return
  }
  await until(async () => !existsSync(`/proc/${pid}`), START_MS, 'dockerd to end')
  rmSync(join(folder, 'pid'), { force: true })
}

/** Ends the engine in `folder` with all its containers, and removes the folder. */
export async function endEngine(folder: string): Promise<void> {
  const socket = join(folder, 'docker.sock')
  if (await answers(socket)) {
    const { text } = await ask(socket, 'GET', '/containers/json?all=1').catch(() => ({ text: '' }))
    for (const [, id] of text.matchAll(/"Id":"([0-9a-f]{64})"/g))
      await ask(socket, 'DELETE', `/containers/${id}?force=1`).catch(() => {})
  }
  await stopEngine(folder)
  await endContainerd(folder)
  await unmountUnder(folder)
  rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
}

function pidIn(folder: string): number | undefined {
  try {
    const pid = Number(readFileSync(join(folder, 'pid'), 'utf8'))
    return Number.isInteger(pid) && pid > 1 ? pid : undefined
  } catch {
    return undefined
  }
}

/** An engine that was killed leaves its containerd. */
async function endContainerd(folder: string): Promise<void> {
  const file = join(folder, 'exec', 'containerd', 'containerd.pid')
  if (!existsSync(file)) return
  const pid = Number(readFileSync(file, 'utf8'))
  try {
    process.kill(pid, 'SIGTERM')
  } catch {
    return
  }
  await until(async () => !existsSync(`/proc/${pid}`), 5_000, 'containerd to end').catch(() => {})
}

async function unmountUnder(folder: string): Promise<void> {
  const points = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((point) => point.startsWith(`${folder}/`))
  for (const point of points.reverse()) await run('umount', ['-l', point]).catch(() => {})
}

const tail = (file: string): string => readFileSync(file, 'utf8').split('\n').slice(-4).join(' | ')

async function until(check: () => Promise<boolean>, ms: number, what: string): Promise<void> {
  const end = performance.now() + ms
  while (!(await check())) {
    if (performance.now() > end) throw new Error(`Waited ${ms} ms in vain for ${what}`)
    await sleep(50)
  }
}

const answers = (socket: string): Promise<boolean> =>
  existsSync(socket)
    ? ask(socket, 'GET', '/_ping').then(
        ({ status }) => status === 200,
        () => false,
      )
    : Promise.resolve(false)

/** One request to the engine, without any client of ours: tests look at the engine by another way than the code they test. */
export function ask(
  socket: string,
  method: string,
  path: string,
  body?: { readonly type: string; readonly content: Uint8Array },
): Promise<{ status: number; text: string; bytes: Uint8Array }> {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { 'content-type': body.type, 'content-length': body.content.length }
    const asked = request({ socketPath: socket, method, path, headers, timeout: 60_000 }, (answer) => {
      const parts: Buffer[] = []
      answer.on('data', (part: Buffer) => parts.push(part))
      answer.on('error', reject)
      answer.on('end', () => {
        const bytes = Buffer.concat(parts)
        resolve({ status: answer.statusCode ?? 0, text: bytes.toString(), bytes })
      })
    })
    asked.on('error', reject)
    asked.on('timeout', () => asked.destroy(new Error('The engine did not answer')))
    asked.end(body?.content)
  })
}

async function makeImage(socket: string): Promise<void> {
  if ((await ask(socket, 'GET', `/images/${TEST_IMAGE}/json`)).status === 200) return
  await importRoot(socket, TEST_IMAGE, await busyboxRoot())
}

/** @param changes lines of a Dockerfile that say what a container of it does by itself */
export async function importRoot(
  socket: string,
  name: string,
  content: Uint8Array,
  changes: readonly string[] = [],
): Promise<void> {
  const [repo = '', tag = 'latest'] = name.split(':')
  const query = [`fromSrc=-&repo=${encodeURIComponent(repo)}&tag=${tag}`]
  for (const line of changes) query.push(`changes=${encodeURIComponent(line)}`)
  const path = `/images/create?${query.join('&')}`
  const { status, text } = await ask(socket, 'POST', path, { type: 'application/x-tar', content })
  if (status !== 200 || text.includes('"error"')) throw new Error(`The image ${name} was not taken: ${text}`)
}

/** A root file system as a tar: busybox and links to it. @param extra shell commands run in the folder of the root */
export async function busyboxRoot(extra: readonly string[] = []): Promise<Buffer> {
  const root = mkdtempSync(join(tmpdir(), 'mh-image-'))
  try {
    await fillBusyboxRoot(root, extra)
    const { stdout } = await run('tar', ['--numeric-owner', '--owner=0', '--group=0', '-C', root, '-cf', '-', '.'], {
      encoding: 'buffer',
      maxBuffer: 64 << 20,
    })
    return stdout
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
}

/** The same, in a folder. */
export async function fillBusyboxRoot(root: string, extra: readonly string[]): Promise<void> {
  const busybox = ['/bin/busybox', '/usr/bin/busybox'].find((path) => existsSync(path))
  if (busybox === undefined) throw new Error('The test image is made of busybox-static: install that package')
  const script = [
    'mkdir -p bin sbin usr/bin usr/sbin etc tmp home/agent workspace root proc sys dev run var/tmp',
    `cp ${busybox} bin/busybox && chmod 755 bin/busybox && chmod 1777 tmp var/tmp`,
    'for tool in $(bin/busybox --list); do [ "$tool" = busybox ] || ln -s busybox "bin/$tool"; done',
    "printf 'root:x:0:0:root:/root:/bin/sh\\nagent:x:10001:10001:agent:/home/agent:/bin/sh\\n' > etc/passwd",
    "printf 'root:x:0:\\nagent:x:10001:\\n' > etc/group",
    ...extra,
  ]
  await run('sh', ['-ec', script.join('\n')], { cwd: root, maxBuffer: 64 << 20 })
}

/** A runtime that is registered may still not start anything. */
async function workingRuntimes(socket: string): Promise<string[]> {
  const { text } = await ask(socket, 'GET', '/info')
  const info: unknown = JSON.parse(text)
  const named = typeof info === 'object' && info !== null && 'Runtimes' in info ? Object.keys(info.Runtimes ?? {}) : []
  const working = ['runc']
  for (const name of ['runsc', 'kata'].filter((wanted) => named.includes(wanted))) {
    if (await starts(socket, name)) working.push(name)
    else console.warn(`Tests of the runtime ${name} are skipped: it is registered and does not start`)
  }
  return working
}

async function starts(socket: string, runtime: string): Promise<boolean> {
  const host = { NetworkMode: 'none', Runtime: runtime }
  const body = { Image: TEST_IMAGE, Cmd: ['true'], Labels: { 'test.run': runLabel() }, HostConfig: host }
  const content = Buffer.from(JSON.stringify(body))
  const { text } = await ask(socket, 'POST', '/containers/create', { type: 'application/json', content })
  const id = /"Id":"([0-9a-f]{64})"/.exec(text)?.[1]
  if (id === undefined) return false
  const { status } = await ask(socket, 'POST', `/containers/${id}/start`)
  await ask(socket, 'DELETE', `/containers/${id}?force=1`)
  return status === 204
}

export const runLabel = (): string => `t-${process.pid}-${randomBytes(4).toString('hex')}`
