/** Sandboxes that are nothing but their rows: what they are asked beyond being made, looked at and removed they refuse. */
import { MeshError } from '../../protocol/errors.ts'
import { DEFAULT_LIMITS } from '../../daemon/exec/sandbox/limits.ts'
import type {
  ImageOptions,
  ImageStore,
  ImageView,
  Sandbox,
  SandboxExecutor,
  SandboxView,
} from '../../daemon/exec/sandbox/sandbox.ts'

const IMAGE: ImageView = { digest: `sha256:${'0'.repeat(64)}`, names: ['debian:12'], bytes: 0, createdAt: 0 }
const cannot = (): never => {
  throw new MeshError('E_GUEST_FEATURE', 'This sandbox is a row and no more')
}
const refuse = async (): Promise<never> => cannot()

/** Tells what it was asked, and answers that it did it. */
export class MemoryImages implements ImageStore {
  readonly asked: { readonly op: string; readonly name: string; readonly onlyNew: boolean }[] = []

  async list(): Promise<readonly ImageView[]> {
    return [IMAGE]
  }

  async resolve(): Promise<ImageView> {
    return IMAGE
  }

  pull(name: string, options: ImageOptions = {}): Promise<ImageView> {
    return this.#did('pull', name, options)
  }

  import(_tar: AsyncIterable<Uint8Array>, name: string, options: ImageOptions = {}): Promise<ImageView> {
    return this.#did('import', name, options)
  }

  buildDefault(name: string, options: ImageOptions = {}): Promise<ImageView> {
    return this.#did('build', name, options)
  }

  async remove(): Promise<void> {}

  async #did(op: string, name: string, { onlyNew = false }: ImageOptions): Promise<ImageView> {
    this.asked.push({ op, name, onlyNew })
    return IMAGE
  }
}

export class MemorySandboxes implements SandboxExecutor {
  readonly images = new MemoryImages()
  readonly #all = new Map<string, Sandbox>()
  #made = 0
  /** What making one waits for */
  until: Promise<void> = Promise.resolve()

  info(): undefined {
    return undefined
  }

  onEngine(): () => void {
    return () => undefined
  }

  grades(): readonly ['jailed'] {
    return ['jailed']
  }

  create({ owner }: { readonly owner: string }): Promise<Sandbox> {
    return this.#make(owner)
  }

  import(_stream: AsyncIterable<Uint8Array>, { owner }: { readonly owner: string }): Promise<Sandbox> {
    return this.#make(owner)
  }

  get(id: string): Sandbox | undefined {
    return this.#all.get(id)
  }

  list(): readonly Sandbox[] {
    return [...this.#all.values()]
  }

  async close(): Promise<void> {}

  async #make(owner: string): Promise<Sandbox> {
    await this.until
    const id = `box-${++this.#made}`
    const view: SandboxView = {
      ...{ id, name: undefined, owner, state: 'running', profile: 'strict', grade: 'jailed', runtime: 'runc' },
      ...{ image: { name: 'debian:12', digest: IMAGE.digest }, limits: DEFAULT_LIMITS, env: {}, snapshots: [] },
      workspace: { kind: 'loop', path: '/workspace', quota: 'hard', rootQuota: 'read-only', survivesStop: true },
      ...{ sleepAfterMs: 0, createdAt: 0 },
    }
    const sandbox: Sandbox = {
      id,
      view: () => view,
      fork: () => this.#make(owner),
      remove: async () => void this.#all.delete(id),
      sleep: async () => undefined,
      wake: async () => undefined,
      evidence: async () => undefined,
      hostPid: () => undefined,
      onChange: () => () => undefined,
      ...{
        guest: refuse,
        use: refuse,
        snapshot: refuse,
        restore: refuse,
        removeSnapshot: refuse,
        exportContent: cannot,
      },
    }
    this.#all.set(id, sandbox)
    return sandbox
  }
}
