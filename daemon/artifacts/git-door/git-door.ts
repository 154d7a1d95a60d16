/**
 * The door for Git clients: smart HTTP and LFS under /git/<id or name>.git/, for the daemon's loopback listener. It speaks node:http, since packs stream both ways.
 * Host, Origin and header limits are the listener's; tokens, bodies, turns and ends are kept here.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { ERRORS, MeshError, toMeshError } from '../../../protocol/errors.ts'
import type { GitWay } from '../../api/git-mount.ts'
import type { Journal } from '../../journal/journal.ts'
import type { ArtifactView } from '../store/artifact-store.ts'
import type { DoorStore } from './door-store.ts'
import { advertisement, protocolVersion } from './advertisement.ts'
import { admit, type Admitted, CHALLENGE, type CallerOf } from './door-access.ts'
import { type DoorTarget, doorTarget } from './door-path.ts'
import { GitTokens } from './git-tokens.ts'
import { Intakes } from './intake.ts'
import { receiveFile, sendFile, sendLfsError, serveBatch, verifyFile } from './lfs.ts'
import { LfsStore } from './lfs-store.ts'
import { DOOR_LIMITS, type DoorLimits } from './limits.ts'
import { serveReceive } from './receive.ts'
import { RefShow } from './shown-refs.ts'
import { Slots } from './slots.ts'
import { refuseUpload, serveUpload } from './upload.ts'

export interface GitDoorParts {
  readonly store: DoorStore
  readonly journal: Journal
  /** Whose a token of the local API is: `read` may read, `run` and `admin` may push too */
  readonly callerOf: CallerOf
  readonly limits?: Partial<DoorLimits>
  /** Told of failures that are ours */
  readonly onFault?: (error: MeshError) => void
  /** Milliseconds since 1970. @default Date.now */
  readonly wallMs?: () => number
}

export interface GitDoor {
  readonly tokens: GitTokens
  /** Large files */
  readonly files: LfsStore
  /** Serves a request whose path begins with /git/. Never rejects. @param signal ends it. Resolves when the answer has been given to the system */
  handle(request: IncomingMessage, response: ServerResponse, signal?: AbortSignal, way?: GitWay): Promise<void>
  /** Turns taken and waited for */
  load(): { readonly uploads: number; readonly pushes: number; readonly waiting: number }
  /** Ends what runs. New requests are refused. */
  close(): Promise<void>
}

export function createGitDoor(parts: GitDoorParts): GitDoor {
  return new Door(parts)
}

interface Entry {
  isAdmitted: boolean
  readonly way: GitWay | undefined
}

/** URL of the repository as the client has it. */
function repositoryUrl(name: string, request: IncomingMessage, way: GitWay | undefined): string {
  return `${way?.repositories ?? `http://${request.headers.host ?? 'localhost'}/git/`}${name}.git`
}

/** After an answer that came early, for the client to take it before the connection ends, milliseconds */
const LINGER_MS = 2_000

class Door implements GitDoor {
  readonly tokens: GitTokens
  readonly files: LfsStore
  readonly #parts: GitDoorParts & { readonly onFault: (error: MeshError) => void }
  readonly #limits: DoorLimits
  readonly #refs: RefShow
  readonly #intakes: Intakes
  readonly #uploads: Slots
  readonly #pushes: Slots
  readonly #running = new Map<AbortController, Promise<void>>()
  #closed = false

  constructor(parts: GitDoorParts) {
    this.#parts = { ...parts, onFault: parts.onFault ?? (() => {}) }
    this.#limits = { ...DOOR_LIMITS, ...parts.limits }
    this.tokens = new GitTokens(parts.journal, parts.wallMs)
    this.#refs = new RefShow(parts.store)
    this.#intakes = new Intakes(parts.store, this.#limits, (error) => this.#parts.onFault(toMeshError(error)))
    this.files = new LfsStore(parts.store, parts.journal, this.#limits)
    const { uploads, pushes, waiting, waitMs } = this.#limits
    this.#uploads = new Slots('clones and fetches', { slots: uploads, waiting, waitMs })
    this.#pushes = new Slots('pushes', { slots: pushes, waiting, waitMs })
  }

  load(): { uploads: number; pushes: number; waiting: number } {
    const waiting = this.#uploads.waiting + this.#pushes.waiting
    return { uploads: this.#uploads.used, pushes: this.#pushes.used, waiting }
  }

  async handle(request: IncomingMessage, response: ServerResponse, signal?: AbortSignal, way?: GitWay): Promise<void> {
    const stop = new AbortController()
    const onGone = (): void => stop.abort(new MeshError('E_CALLER_GONE', 'The client went away'))
    const onSignal = (): void => stop.abort(signal?.reason)
    response.once('close', onGone).on('error', () => {})
    request.on('error', () => {})
    signal?.addEventListener('abort', onSignal, { once: true })
    if (this.#closed || signal?.aborted) stop.abort(new MeshError('E_STOPPING', 'The daemon is shutting down'))
    const running = this.#answer(request, response, stop.signal, way)
    this.#running.set(stop, running)
    await running
    this.#running.delete(stop)
    response.off('close', onGone)
    signal?.removeEventListener('abort', onSignal)
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const stop of this.#running.keys()) stop.abort(new MeshError('E_STOPPING', 'The daemon is shutting down'))
    await Promise.all(this.#running.values())
    await this.#intakes.close()
  }

  async #answer(
    request: IncomingMessage,
    response: ServerResponse,
    signal: AbortSignal,
    way: GitWay | undefined,
  ): Promise<void> {
    response.setHeader('cache-control', 'no-cache, no-store, must-revalidate')
    response.setHeader('x-content-type-options', 'nosniff')
    const target = doorTarget(request.method ?? '', request.url ?? '')
    const entry: Entry = { isAdmitted: false, way }
    try {
      signal.throwIfAborted()
      if (target === undefined)
        throw new MeshError('E_NOT_FOUND', 'Cannot serve it: this server speaks smart HTTP only')
      await this.#serve(target, entry, request, response, signal)
    } catch (thrown) {
      const error = toMeshError(thrown)
      if (error.code === 'E_INTERNAL' || error.code === 'E_STORAGE') this.#parts.onFault(error)
      refuse(entry.isAdmitted ? target : undefined, request, response, error)
    }
  }

  async #serve(
    target: DoorTarget,
    entry: Entry,
    request: IncomingMessage,
    response: ServerResponse,
    signal: AbortSignal,
  ): Promise<void> {
    const enter = (wanted: 'read' | 'write'): Admitted => {
      const { store, callerOf } = this.#parts
      const admitted = admit(
        { store, tokens: this.tokens, callerOf },
        target.name,
        wanted,
        entry.way?.authorization ?? request.headers.authorization,
      )
      entry.isAdmitted = true
      return admitted
    }
    if (target.kind === 'advertise') return this.#advertise(target, enter, request, response)
    if (target.kind === 'serve') return this.#serveGit(target, enter, request, response, signal)
    return this.#serveFiles(target, (wanted) => enter(wanted).view, request, response, entry.way)
  }

  async #advertise(
    { service }: Extract<DoorTarget, { kind: 'advertise' }>,
    enter: (wanted: 'read' | 'write') => Admitted,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const isFetch = service === 'git-upload-pack'
    const { view } = enter(isFetch ? 'read' : 'write')
    const header = request.headers['git-protocol']
    const version = protocolVersion(typeof header === 'string' ? header : undefined)
    // In version 2 refs are asked for later
    const isShort = isFetch && version === 2
    const nothing = { refs: new Map<string, string>(), head: '', peeled: new Map<string, string>() }
    const shown = isShort ? nothing : await this.#refs.show(view, { system: false, peel: isFetch })
    if (!isFetch) this.#intakes.expect(view)
    const bytes = advertisement(service, version, shown)
    response.setHeader('content-type', `application/x-${service}-advertisement`)
    response.setHeader('content-length', bytes.length)
    response.end(request.method === 'HEAD' ? undefined : bytes)
  }

  async #serveGit(
    { service }: Extract<DoorTarget, { kind: 'serve' }>,
    enter: (wanted: 'read' | 'write') => Admitted,
    request: IncomingMessage,
    response: ServerResponse,
    signal: AbortSignal,
  ): Promise<void> {
    const { store, onFault } = this.#parts
    const limits = this.#limits
    const { view, by } = enter(service === 'git-upload-pack' ? 'read' : 'write')
    if (request.headers['content-type'] !== `application/x-${service}-request`)
      throw new MeshError('E_MEDIA_TYPE', `Cannot serve it: a body of type application/x-${service}-request is wanted`)
    if (service === 'git-receive-pack')
      return serveReceive(
        { store, intakes: this.#intakes, slots: this.#pushes, limits, onFault },
        view,
        by,
        request,
        response,
        signal,
      )
    return serveUpload({ store, refs: this.#refs, slots: this.#uploads, limits }, view, request, response, signal)
  }

  async #serveFiles(
    target: Exclude<DoorTarget, { kind: 'advertise' | 'serve' }>,
    enter: (wanted: 'read' | 'write') => ArtifactView,
    request: IncomingMessage,
    response: ServerResponse,
    way: GitWay | undefined,
  ): Promise<void> {
    const parts = { files: this.files, limits: this.#limits }
    switch (target.kind) {
      case 'lfs-batch':
        return serveBatch(parts, repositoryUrl(target.name, request, way), request, response, enter)
      case 'lfs-object':
        if (request.method === 'PUT') return receiveFile(parts, enter('write'), target.oid, request, response)
        return sendFile(parts, enter('read'), target.oid, response)
      case 'lfs-verify':
        return verifyFile(parts, enter('write'), target.oid, request, response)
      case 'lfs-locks':
        enter('read')
        return sendLfsError(response, 501, 'File locks are not offered here')
    }
  }
}

/** An error in the words of the protocol that was spoken, as far as it can still be said. @param target of a caller that was let in */
function refuse(
  target: DoorTarget | undefined,
  request: IncomingMessage,
  response: ServerResponse,
  error: MeshError,
): void {
  if (response.headersSent || response.destroyed) return void response.destroy()
  const { status } = ERRORS[error.code]
  response.statusCode = status
  if (status === 401) response.setHeader('www-authenticate', CHALLENGE)
  if (error.retryAfterMs !== undefined) response.setHeader('retry-after', Math.ceil(error.retryAfterMs / 1000))
  response.removeHeader('content-length')
  // The rest of a body is of no use. Were the connection ended at once, the answer would be lost with what is still under way
  if (!request.complete && request.method !== 'GET') {
    request.resume()
    response.once('finish', () => setTimeout(() => request.destroy(), LINGER_MS).unref())
  }
  if ((request.url ?? '').includes('/info/lfs/')) return sendLfsError(response, status, error.message)
  // A client shows what the server says only in an answer it understands
  if (target?.kind === 'serve' && target.service === 'git-upload-pack') {
    response.statusCode = 200
    return refuseUpload(response, error)
  }
  response.setHeader('content-type', 'text/plain; charset=utf-8')
  response.end(error.hint === undefined ? `${error.message}\n` : `${error.message}\n${error.hint}\n`)
}
