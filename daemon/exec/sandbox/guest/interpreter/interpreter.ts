/** Code in an interpreter inside a sandbox, whose state is kept from call to call until the sandbox stops or the connection ends. */
import { randomBytes } from 'node:crypto'
import { MeshError } from '../../../../../protocol/errors.ts'
import { LIMITS } from '../../../../../protocol/limits.ts'
import type { GuestConnection, GuestEnd, GuestProcess } from '../guest-connection.ts'
import { type Answer, readAnswer } from './answer.ts'
import { MarkedOutput } from './marked-output.ts'
import { NODE, PYTHON, SHELL, shellRequest } from './programs.ts'

export const LANGUAGES = ['python', 'node', 'shell'] as const
export type Language = (typeof LANGUAGES)[number]

export interface CodeRequest {
  readonly language: Language
  readonly code: string
  /** State is kept for each language and context. @default 'default' */
  readonly context?: string
  /** For an interpreter that is started now; one that runs keeps its own */
  readonly env?: Readonly<Record<string, string>>
  /** Milliseconds; then it is interrupted, and ended with its state if it does not obey. @default none */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
  /** What the code prints, as it comes; a promise holds it back */
  onOutput?(fd: 1 | 2, bytes: Uint8Array): void | Promise<void>
}

export interface CodeOutcome extends Answer {
  /** How the call ended: `exit` with the shell's status, 0 or 1 else; or what ended it or its interpreter */
  readonly end: GuestEnd
  /** False: the interpreter is gone, and with it all state of the context */
  readonly stateKept: boolean
}

/** Interpreters of one sandbox at once. */
const MAX_CONTEXTS = 16
/** How long an interrupted call may take to give up, milliseconds. */
const INTERRUPT_MS = 2000

const COMMANDS: Readonly<Record<Language, readonly string[]>> = {
  python: ['python3', '-u', '-c', PYTHON],
  node: ['node', '-e', NODE],
  shell: ['sh', '-c', SHELL],
}

const kept = new WeakMap<GuestConnection, Map<string, Interpreter>>()

/**
 * Runs code; calls of one context wait for each other.
 * @throws MeshError E_LANGUAGE when the image has no such interpreter, E_OVERLOADED, E_TOO_LARGE, E_OUTPUT (results over their limit), E_SANDBOX_LOST
 */
export async function runCode(guest: GuestConnection, request: CodeRequest): Promise<CodeOutcome> {
  const code = Buffer.from(request.code)
  if (code.length > LIMITS.guestCodeBytes) {
    throw new MeshError('E_TOO_LARGE', `The code has ${code.length} bytes, the limit is ${LIMITS.guestCodeBytes}`)
  }
  const all = kept.get(guest) ?? new Map<string, Interpreter>()
  kept.set(guest, all)
  const key = `${request.language}/${request.context ?? 'default'}`
  let interpreter = all.get(key)
  if (interpreter === undefined) {
    if (all.size >= MAX_CONTEXTS) {
      throw new MeshError('E_OVERLOADED', `The sandbox keeps ${MAX_CONTEXTS} interpreters already`)
    }
    const fresh = new Interpreter(guest, request)
    interpreter = fresh
    all.set(key, fresh)
    void fresh.gone.then(() => {
      if (all.get(key) === fresh) all.delete(key)
    })
  }
  const release = guest.hold()
  try {
    return await interpreter.run(request)
  } finally {
    release()
  }
}

interface Call {
  readonly request: CodeRequest
  answer: Answer | undefined
  marks: number
  readonly done: PromiseWithResolvers<void>
}

class Interpreter {
  readonly gone: Promise<GuestEnd>
  readonly #language: Language
  readonly #process: GuestProcess
  readonly #mark = randomBytes(16).toString('hex')
  #last: Promise<unknown> = Promise.resolve()
  #call: Call | undefined
  #failure: MeshError | undefined
  /** Resolves when all that it wrote was handed on */
  readonly #read: Promise<void>

  constructor(guest: GuestConnection, request: CodeRequest) {
    this.#language = request.language
    const argv = COMMANDS[request.language]
    this.#process = guest.exec({ argv, stdin: 'stream', env: request.env ?? {}, passive: true })
    this.gone = this.#process.ended
    if (this.#language !== 'shell') this.#send(`${this.#mark}\n`)
    this.#read = this.#readAll()
  }

  run(request: CodeRequest): Promise<CodeOutcome> {
    const mine = this.#last.then(() => this.#run(request))
    this.#last = mine.catch(() => undefined)
    return mine
  }

  async #run(request: CodeRequest): Promise<CodeOutcome> {
    const call: Call = { request, answer: undefined, marks: 0, done: Promise.withResolvers() }
    this.#call = call
    const bytes = Buffer.byteLength(request.code)
    this.#send(this.#language === 'shell' ? shellRequest(request.code, this.#mark) : `${bytes}\n${request.code}`)
    let cause: 'timeout' | 'canceled' | undefined
    const interrupt = (why: 'timeout' | 'canceled'): void => {
      if (cause !== undefined) return
      cause = why
      this.#interrupt()
    }
    const timer = request.timeoutMs === undefined ? undefined : setTimeout(interrupt, request.timeoutMs, 'timeout')
    const cancel = (): void => interrupt('canceled')
    if (request.signal?.aborted === true) cancel()
    request.signal?.addEventListener('abort', cancel, { once: true })
    try {
      const end = await Promise.race([call.done.promise, this.gone])
      // It ended sooner than its output was taken
      if (end !== undefined) await this.#read
      return this.#outcome(call, end, cause)
    } finally {
      clearTimeout(timer)
      clearTimeout(this.#killTimer)
      request.signal?.removeEventListener('abort', cancel)
      this.#call = undefined
    }
  }

  #outcome(call: Call, end: GuestEnd | void, cause: 'timeout' | 'canceled' | undefined): CodeOutcome {
    if (this.#failure !== undefined) throw this.#failure
    const answer = call.answer ?? { results: [] }
    if (end === undefined) {
      const code = answer.code ?? (answer.error === undefined ? 0 : 1)
      return { ...answer, end: cause === undefined ? { kind: 'exit', code } : { kind: cause }, stateKept: true }
    }
    if (end.kind === 'not-started' && end.code === 'E_NOT_FOUND') {
      throw new MeshError('E_LANGUAGE', `The image of this sandbox has no interpreter for ${this.#language}`, {
        hint: 'Use an image that has it, or install it in the sandbox',
      })
    }
    return { ...answer, end: cause === undefined ? end : { kind: cause }, stateKept: false }
  }

  #killTimer: NodeJS.Timeout | undefined

  /** First as Ctrl-C does, which keeps the state; the shell itself would not survive that. */
  #interrupt(): void {
    if (this.#language === 'shell') return this.#process.stop(0)
    this.#process.signal('SIGINT')
    this.#killTimer = setTimeout(() => this.#process.stop(0), INTERRUPT_MS)
  }

  #send(text: string): void {
    // if it ended meanwhile, `gone` tells
    this.#process.write(Buffer.from(text)).catch(() => undefined)
  }

  async #readAll(): Promise<void> {
    const split = {
      1: new MarkedOutput(this.#mark, true, LIMITS.guestResultBytes),
      2: new MarkedOutput(this.#mark, false, 0),
    }
    try {
      for await (const { fd, bytes } of this.#process.output) {
        for (const piece of split[fd].push(bytes)) {
          if (piece.output !== undefined) await this.#call?.request.onOutput?.(fd, piece.output)
          if (piece.answer !== undefined) this.#ended(fd === 1 ? readAnswer(piece.answer) : undefined)
        }
      }
    } catch (error) {
      // whether the guest lied or the reader of the output failed: nothing of this interpreter can be trusted any more
      this.#failure =
        error instanceof MeshError ? error : new MeshError('E_CANCELED', 'The output was not taken', { cause: error })
      this.#process.stop(0)
    }
  }

  /** A request is over when both outputs say so: nothing of it comes later. */
  #ended(answer: Answer | undefined): void {
    const call = this.#call
    if (call === undefined) return
    call.marks += 1
    call.answer ??= answer
    if (call.marks === 2) call.done.resolve()
  }
}
