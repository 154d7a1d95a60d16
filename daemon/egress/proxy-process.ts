/**
 * The proxy process as the daemon sees it: started when the first door opens, watched, ended when it outgrows its memory, and started again when it dies; whoever uses
 * it is told then and opens its doors again, on the same sockets.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import type { Server } from 'node:net'
import { MeshError } from '../../protocol/errors.ts'
import { sealedStdio } from '../processes/sealed-stdio.ts'
import { ProcessSampler } from '../exec/isolate/process-sample.ts'
import { egressScript } from './lead-inside.ts'
import { FromProxy, type ProxySettings, type ToProxy } from './proxy/messages.ts'

type Request = ToProxy extends infer Message ? (Message extends { id: number } ? Omit<Message, 'id'> : never) : never
type Notice = Exclude<FromProxy, { type: 'ready' | 'done' | 'failed' }>

export interface ProxyProcessInit {
  readonly settings: ProxySettings
  readonly onNotice: (notice: Notice) => void
  /** It runs again, with nothing open */
  readonly onRestart: () => Promise<void>
  /** For the log; not seen by guests */
  readonly onTrouble: (what: string) => void
}

const START_MS = 15_000
const REQUEST_MS = 10_000
/** JavaScript's own memory; buffers of 2,048 connections come on top. */
const HEAP_MB = 128
/** What is young dies young here: with more room garbage only lies about longer. */
const YOUNG_MB = 4
const RESIDENT_BYTES = 640 << 20
const SAMPLE_MS = 2_000
/** Pause before it is started again, doubled at each death within a minute of the last. */
const PAUSE_MS = 100
const LONGEST_PAUSE_MS = 10_000
const STEADY_MS = 60_000
const STDERR_BYTES = 2_048

export class ProxyProcess {
  readonly #init: ProxyProcessInit
  readonly #waiting = new Map<number, PromiseWithResolvers<string | undefined>>()
  #child: ChildProcess | undefined
  /** The same, from its birth on: one that starts must not be forgotten, as its channel keeps this process alive */
  #born: ChildProcess | undefined
  #starting: Promise<void> | undefined
  #lastId = 0
  #closed = false
  #startedAt = 0
  #pauseMs = PAUSE_MS
  restarts = 0
  residentBytes = 0

  constructor(init: ProxyProcessInit) {
    this.#init = init
  }

  get running(): boolean {
    return this.#child !== undefined
  }

  get pid(): number | undefined {
    return this.#child?.pid
  }

  /** Starts it, unless it runs. @throws MeshError E_EGRESS, E_STOPPING */
  start(): Promise<void> {
    if (this.#closed) return Promise.reject(stopping())
    this.#starting ??= this.#begin().catch((error: unknown) => {
      this.#starting = undefined
      throw error
    })
    return this.#starting
  }

  /** @returns what the proxy answers. @throws MeshError E_EGRESS */
  async ask(request: Request, handle?: Server): Promise<string | undefined> {
    const child = this.#child
    if (child === undefined) throw lost('it does not run')
    const id = ++this.#lastId
    const answer = Promise.withResolvers<string | undefined>()
    const timer = setTimeout(() => answer.reject(lost('it does not answer')), REQUEST_MS)
    this.#waiting.set(id, answer)
    const message = { ...request, id }
    child.send(message, handle, {}, (error) => {
      if (error !== null) answer.reject(lost('it ended'))
    })
    try {
      return await answer.promise
    } finally {
      clearTimeout(timer)
      this.#waiting.delete(id)
    }
  }

  /** A message that is not answered. */
  tell(message: Extract<ToProxy, { type: 'handled' }>): void {
    this.#child?.send(message, () => undefined)
  }

  async close(): Promise<void> {
    this.#closed = true
    const child = this.#born
    if (child === undefined) return
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()))
    child.kill('SIGKILL')
    await gone
  }

  async #begin(): Promise<void> {
    const args = [
      `--max-old-space-size=${HEAP_MB}`,
      `--max-semi-space-size=${YOUNG_MB}`,
      '--disallow-code-generation-from-strings',
      '--no-warnings',
      egressScript('main'),
    ]
    const child = spawn(process.execPath, args, {
      stdio: sealedStdio(['ignore', 'ignore', 'pipe', 'ipc']),
      // Fewer pools of freed memory: buffers come and go on several threads
      env: { MALLOC_ARENA_MAX: '2' },
      cwd: '/',
    })
    if (child.pid !== undefined) this.#born = child
    let stderr = ''
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-STDERR_BYTES)
    })
    const ready = Promise.withResolvers<void>()
    const timer = setTimeout(() => ready.reject(lost('it did not start in time')), START_MS)
    child.on('message', (message: unknown) => this.#receive(message, ready.resolve, child))
    child.once('error', () => ready.reject(lost('it cannot be started')))
    child.once('exit', (code, signal) => {
      if (this.#born === child) this.#born = undefined
      ready.reject(lost('it ended while starting'))
      this.#ended(child, `the proxy ended (${signal ?? code}): ${stderr.trim()}`)
    })
    try {
      await ready.promise
      this.#child = child
      this.#startedAt = performance.now()
      this.#watch(child)
      await this.ask({ type: 'start', settings: this.#init.settings })
    } catch (error) {
      child.kill('SIGKILL')
      throw this.#closed ? stopping() : error
    } finally {
      clearTimeout(timer)
    }
  }

  #receive(message: unknown, ready: () => void, child: ChildProcess): void {
    const parsed = FromProxy.safeParse(message)
    if (!parsed.success) {
      this.#init.onTrouble('the proxy sent a message that is not one of its own; it is ended')
      child.kill('SIGKILL')
      return
    }
    const notice = parsed.data
    switch (notice.type) {
      case 'ready':
        ready()
        return
      case 'done':
        this.#waiting.get(notice.id)?.resolve(notice.caPem)
        return
      case 'failed':
        this.#waiting.get(notice.id)?.reject(lost(notice.message))
        return
      case 'audit':
      case 'handle':
        this.#init.onNotice(notice)
    }
  }

  #watch({ pid }: ChildProcess): void {
    if (pid === undefined || process.platform !== 'linux') return
    const sampler = new ProcessSampler(pid)
    const timer = setInterval(() => {
      const use = this.#child?.pid === pid ? sampler.sample() : undefined
      if (use === undefined) {
        clearInterval(timer)
        sampler.close()
        return
      }
      this.residentBytes = use.residentBytes
      if (use.residentBytes <= RESIDENT_BYTES) return
      this.#init.onTrouble(`the proxy holds ${use.residentBytes >> 20} MiB; it is started again`)
      this.#child?.kill('SIGKILL')
    }, SAMPLE_MS)
    timer.unref()
  }

  #ended(child: ChildProcess, what: string): void {
    if (this.#child !== child) return
    this.#child = undefined
    this.#starting = undefined
    this.residentBytes = 0
    for (const answer of this.#waiting.values()) answer.reject(lost('it ended'))
    if (this.#closed) return
    this.#init.onTrouble(what)
    if (performance.now() - this.#startedAt > STEADY_MS) this.#pauseMs = PAUSE_MS
    this.#again()
  }

  #again(): void {
    setTimeout(() => {
      if (this.#closed) return
      this.#pauseMs = Math.min(this.#pauseMs * 2, LONGEST_PAUSE_MS)
      this.restarts += 1
      this.start()
        .then(() => this.#init.onRestart())
        .catch((error: unknown) => {
          this.#init.onTrouble(String(error))
          if (this.#child === undefined) this.#again()
        })
    }, this.#pauseMs)
  }
}

const stopping = (): MeshError => new MeshError('E_STOPPING', 'The daemon is shutting down')
const lost = (why: string): MeshError => new MeshError('E_EGRESS', `The door to the outside cannot be opened: ${why}`)
