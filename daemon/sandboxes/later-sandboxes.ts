/** Sandboxes and the door of a node, from outside: loaded once the node has joined and answers. */
import { MeshError } from '../../protocol/errors.ts'
import type { ServeParts } from '../serve-parts.ts'
import type { Executor } from '../exec/executor.ts'
import type { ArtifactSource } from './artifact-grants.ts'
import type { SandboxParts } from './compose.ts'

export type LaterParts = Pick<ServeParts, 'setting' | 'journal' | 'net' | 'directory' | 'membership' | 'onClose'>

/** What a node needs long after its start, if at all: what asks before it is there waits. */
export class LaterSandboxes {
  readonly #options: LaterParts
  readonly #made = Promise.withResolvers<SandboxParts>()
  #parts: SandboxParts | undefined
  #started = false
  #closed = false

  constructor(options: LaterParts) {
    this.#options = options
    this.#made.promise.catch(() => undefined)
    options.onClose('sandboxes', () => this.#close())
    options.membership.on((event) => {
      if (event.type === 'expelled') this.#parts?.fence(event.peer)
      if (event.type === 'ready') this.#parts?.peerReady(event.peer)
    })
  }

  get parts(): SandboxParts | undefined {
    return this.#parts
  }

  /** @throws MeshError why they could not be made */
  get ready(): Promise<SandboxParts> {
    return this.#made.promise
  }

  /** @param artifacts of this node, which sandboxes are given. @param isolates run the handler programs of rules */
  start(artifacts: ArtifactSource, isolates: Pick<Executor, 'run'>): void {
    this.#started = true
    this.#make(artifacts, isolates).then(this.#made.resolve, (error: unknown) => {
      const isOver = error instanceof MeshError && error.code === 'E_STOPPING'
      if (!isOver) this.#options.setting.logger.error({ err: error }, 'this node has no sandboxes and no door')
      this.#made.reject(error)
    })
  }

  async #make(artifacts: ArtifactSource, isolates: Pick<Executor, 'run'>): Promise<SandboxParts> {
    const { setting, journal, net, directory, membership } = this.#options
    const { composeSandboxes } = await import('./compose.ts')
    const parts = await composeSandboxes({
      config: setting.loaded.config,
      paths: setting.paths,
      journal,
      net,
      directory,
      artifacts,
      isolates,
      env: setting.env,
      nodeName: () => membership.member(net.self)?.name ?? setting.mesh.nodeName,
      warn: (facts, message) => setting.logger.warn(facts, message),
    })
    if (this.#closed) {
      await parts.close()
      throw new MeshError('E_STOPPING', 'The daemon is shutting down')
    }
    this.#parts = parts
    directory.changed()
    return parts
  }

  async #close(): Promise<void> {
    this.#closed = true
    if (!this.#started) return
    const parts = await this.#made.promise.catch(() => undefined)
    await parts?.close()
  }
}
