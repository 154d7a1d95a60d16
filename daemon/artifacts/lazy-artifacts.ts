/**
 * Artifacts of a node, from outside: loaded in the background once the node has joined and answers, or by the first request that needs them. A node without
 * a usable Git goes on without them, and says so to whoever asks.
 */
import { MeshError, toMeshError } from '../../protocol/errors.ts'
import type { ArtifactServices } from '../api/artifact-services.ts'
import type { GitHandler } from '../api/git-mount.ts'
import type { Tokens } from '../api/tokens.ts'
import type { ServeParts } from '../serve-parts.ts'
import type { ReceiptBook } from '../tasks/receipt-book.ts'
import type { Tasks } from '../tasks/tasks.ts'
import type { ArtifactParts } from './compose.ts'
import type { ArtifactFigures } from './figures.ts'
import { ArtifactTasks } from './task-files/artifact-tasks.ts'

export interface LazyOptions {
  readonly parts: Pick<ServeParts, 'setting' | 'journal' | 'net' | 'membership' | 'directory' | 'events' | 'onLabels'>
  readonly tasks: Tasks
  readonly receipts: Pick<ReceiptBook, 'attest'>
  readonly tokens: Tokens
}

/** After the API answers, so that what a user does first is not held up, milliseconds. */
const BEGIN_MS = 200

export class LazyArtifacts {
  /** The task engine with artifacts as input and output of tasks */
  readonly tasks: Tasks
  readonly #options: LazyOptions
  readonly #files: ArtifactTasks
  readonly #url = Promise.withResolvers<string | undefined>()
  #loading: Promise<ArtifactParts> | undefined
  #loaded: ArtifactParts | undefined
  #timer: NodeJS.Timeout | undefined
  #closed = false

  constructor(options: LazyOptions) {
    this.#options = options
    this.#files = new ArtifactTasks({
      tasks: options.tasks,
      receipts: options.receipts,
      journal: options.parts.journal,
      artifacts: this.services,
      note: (what, facts) => options.parts.setting.logger.warn({ ...facts }, what),
    })
    this.tasks = this.#files
  }

  /** @throws MeshError E_NO_ARTIFACTS, E_GIT_MISSING, E_STORAGE, E_STOPPING */
  readonly services = async (): Promise<ArtifactServices> => (await this.#load()).services

  /** @throws as `services` */
  readonly git = async (): Promise<GitHandler> => (await this.#load()).git

  /** Loads them soon, without anyone waiting for it. @param url of the loopback listener; undefined: there is none */
  begin(url: string | undefined): void {
    this.#url.resolve(url)
    const { setting } = this.#options.parts
    if (!setting.loaded.config.artifacts.enabled) return
    this.#timer = setTimeout(() => {
      this.#load()
        .then(() => this.#files.recover())
        .catch((thrown: unknown) => {
          const error = toMeshError(thrown)
          if (error.code === 'E_STOPPING') return
          setting.logger.warn({ code: error.code, err: error }, 'this node offers no artifacts')
        })
    }, BEGIN_MS)
  }

  /** Undefined until they are loaded. */
  figures(): ArtifactFigures | undefined {
    return this.#loaded?.figures()
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#loaded = undefined
    clearTimeout(this.#timer)
    this.#url.resolve(undefined)
    const parts = await this.#loading?.catch(() => undefined)
    await parts?.close()
  }

  #load(): Promise<ArtifactParts> {
    if (this.#closed) return Promise.reject(new MeshError('E_STOPPING', 'The daemon is shutting down'))
    if (this.#loading !== undefined) return this.#loading
    const loading = this.#compose()
    this.#loading = loading
    // What failed may succeed later: a disk that was full, a Git that was installed
    loading.catch(() => {
      this.#loading = undefined
    })
    return loading
  }

  async #compose(): Promise<ArtifactParts> {
    const { parts, tokens } = this.#options
    const { setting, journal, net, membership, directory, events, onLabels } = parts
    const { loaded, paths, identity, logger } = setting
    const config = loaded.config.artifacts
    if (!config.enabled)
      throw new MeshError('E_NO_ARTIFACTS', 'Cannot use artifacts: they are switched off on this node', {
        hint: 'Set artifacts.enabled, or ask another node',
      })
    const { composeArtifacts, ARTIFACT_LABEL } = await import('./compose.ts')
    const made = await composeArtifacts({
      ...{ config, identity, journal, net, membership, directory, tokens, logger },
      folder: paths.artifactsDir,
      tasks: this.tasks,
      url: await this.#url.promise,
      onEvent: (event) => events.add(event),
    })
    onLabels([ARTIFACT_LABEL])
    directory.changed()
    if (!this.#closed) this.#loaded = made
    return made
  }
}
