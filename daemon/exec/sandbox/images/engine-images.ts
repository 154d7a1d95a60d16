/** The images of the engine. A name is resolved to a digest once, and only the digest is used from then on. */
import { rm } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { MeshError } from '../../../../protocol/errors.ts'
import { engineError } from '../engine/engine-error.ts'
import { type EngineJson, engineJson } from '../engine/engine-json.ts'
import type { EngineLink } from '../engine/engine-link.ts'
import { readLines } from '../engine/read-lines.ts'
import { SANDBOX_BOUNDS } from '../limits.ts'
import type { ImageOptions, ImageStore, ImageView } from '../sandbox.ts'
import { ROOTS_REPOSITORY } from '../snapshot-keeper.ts'
import { buildDebianRoot } from './debian-root.ts'
import { checkImage, checkImageName, IMAGE_DIGEST } from './image-check.ts'
import { isSavedImage, peek } from './tar-kind.ts'

/** A pull or an import may take this long, milliseconds. */
const TRANSFER_MS = 60 * 60_000

export class EngineImages implements ImageStore {
  readonly #link: EngineLink
  /** Where roots are built; a folder of the daemon's own */
  readonly #scratch: string
  /** What a digest was found to be: images do not change */
  readonly #known = new Map<string, ImageView>()
  #building = false

  constructor(link: EngineLink, scratch: string) {
    this.#link = link
    this.#scratch = scratch
  }

  /** To be called when another engine may be there. */
  forget(): void {
    this.#known.clear()
  }

  async list(): Promise<readonly ImageView[]> {
    const raw = await this.#ask('list the images', (docker) => docker.listImages())
    return engineJson(raw)
      .items()
      .map((one) => ({
        digest: one.text('Id'),
        names: one.items('RepoTags').map((tag) => tag.text()),
        bytes: one.number('Size'),
        createdAt: one.number('Created') * 1_000,
      }))
      .map((one) => ({ ...one, names: one.names.filter((name) => name !== '<none>:<none>') }))
      .filter(({ names }) => names.length === 0 || names.some((name) => !name.startsWith(`${ROOTS_REPOSITORY}:`)))
  }

  async resolve(name: string): Promise<ImageView> {
    checkImageName(name)
    const known = this.#known.get(name)
    if (known) return known
    const platform = this.#link.info()?.platform ?? ''
    const image = checkImage(await this.#inspect(name), platform)
    if (IMAGE_DIGEST.test(name)) this.#known.set(name, image)
    return image
  }

  async pull(name: string, options: ImageOptions = {}): Promise<ImageView> {
    checkImageName(name)
    const wanted = /[@:][^/]+$/.test(name) ? name : `${name}:latest`
    if (options.onlyNew) await this.#demandFree(wanted)
    const stream = await this.#ask('pull the image', (docker) => docker.pull(wanted))
    await this.#follow(stream, 'pull the image', options)
    return this.resolve(name)
  }

  async import(tar: AsyncIterable<Uint8Array>, name: string, options: ImageOptions = {}): Promise<ImageView> {
    const { onlyNew = false } = options
    const as = splitName(checkImageName(name))
    if (onlyNew) await this.#demandFree(name)
    const { head, all } = await peek(tar)
    if (head.length < 512)
      throw new MeshError('E_IMAGE', 'Cannot import the image: it is no tar', {
        hint: 'Give a tar of a root folder, or the output of `docker save`',
      })
    const saved = isSavedImage(head)
    if (saved && onlyNew) throw savedRefused()
    const bounded = Readable.from(counted(all, options), { objectMode: false })
    // One that must take no name from another is named when it is whole: by then its name may be taken
    const named = saved || onlyNew ? {} : as
    const stream = await this.#ask(
      'import the image',
      (docker) => (saved ? docker.loadImage(bounded) : docker.importImage(bounded, named)),
      TRANSFER_MS,
    ).catch((error: unknown) => {
      bounded.destroy()
      throw error
    })
    const made = await this.#follow(stream, 'import the image', options)
    if (!saved && !onlyNew) return this.resolve(name)
    if (made === undefined) throw new MeshError('E_IMAGE', 'Cannot import the image: the engine found none in it')
    if (onlyNew) await this.#demandFree(name, made)
    await this.#ask('name the image', (docker) => docker.getImage(made).tag(as))
    return this.resolve(name)
  }

  async buildDefault(name: string, options: ImageOptions = {}): Promise<ImageView> {
    splitName(checkImageName(name))
    // Before minutes of building for nobody
    this.#link.client()
    if (options.onlyNew) await this.#demandFree(name)
    if (this.#building) throw new MeshError('E_CONFLICT', 'Cannot build the image: it is being built already')
    this.#building = true
    try {
      // What a build left that did not come to its end
      await rm(this.#scratch, { recursive: true, force: true })
      const root = await buildDebianRoot(this.#scratch, options)
      try {
        return await this.import(root.tar(), name, options)
      } finally {
        await root.remove()
      }
    } finally {
      this.#building = false
    }
  }

  async remove(name: string): Promise<void> {
    checkImageName(name)
    const { digest } = await this.resolve(name).catch(() => ({ digest: '' }))
    await this.#ask('remove the image', (docker) => docker.getImage(name).remove({ force: false }))
    this.#known.delete(digest)
    this.#known.delete(name)
  }

  async #inspect(name: string): Promise<EngineJson> {
    try {
      return engineJson(await this.#ask('look at the image', (docker) => docker.getImage(name).inspect()))
    } catch (error) {
      if (!(error instanceof MeshError) || error.code !== 'E_NOT_FOUND') throw error
      throw new MeshError('E_NOT_FOUND', `Cannot find the image ${name} on this node`, {
        hint: 'Pull it (image pull), import it (image import) or build the default one (image build)',
        cause: error,
      })
    }
  }

  /** @param made the image that would have got the name: it goes when the name is taken. @throws MeshError E_CONFLICT */
  async #demandFree(name: string, made?: string): Promise<void> {
    try {
      await this.#inspect(name)
    } catch (error) {
      if (error instanceof MeshError && error.code === 'E_NOT_FOUND') return
      throw error
    }
    if (made !== undefined)
      await this.#ask('remove the image', (docker) => docker.getImage(made).remove({ force: false }))
    throw new MeshError('E_CONFLICT', `Cannot make the image: there is one called ${name} on this node`, {
      hint: 'Choose another name, or ask the operator of the node to replace it there',
    })
  }

  /** Reads the engine's progress to its end. @returns what it says it loaded or imported */
  async #follow(
    stream: NodeJS.ReadableStream,
    action: string,
    { signal, progress }: ImageOptions,
  ): Promise<string | undefined> {
    const readable = Readable.from(stream, { objectMode: false })
    const stop = (): void => void readable.destroy(new MeshError('E_CANCELED', `Cannot ${action}: it was canceled`))
    signal?.addEventListener('abort', stop, { once: true })
    let loaded: string | undefined
    try {
      for await (const line of readLines(readable)) {
        const step = engineJson(line)
        const failure = step.text('error')
        if (failure !== '')
          throw new MeshError('E_IMAGE', `Cannot ${action}: ${failure.slice(0, 300)}`, { cause: new Error(failure) })
        loaded = /^Loaded image(?: ID)?: (\S+)/.exec(step.text('stream'))?.[1] ?? loaded
        if (IMAGE_DIGEST.test(step.text('status'))) loaded = step.text('status')
        tell(step, progress)
      }
    } catch (error) {
      throw engineError(action, error)
    } finally {
      signal?.removeEventListener('abort', stop)
    }
    return loaded
  }

  #ask<T>(action: string, use: (docker: Engine) => Promise<T>, ms: number = SANDBOX_BOUNDS.engineCallMs): Promise<T> {
    return this.#link.client().images(action, ms, (docker) => use(docker))
  }
}

type Engine = Parameters<Parameters<ReturnType<EngineLink['client']>['images']>[2]>[0]

function tell(step: EngineJson, progress: ImageOptions['progress']): void {
  const detail = step.at('progressDetail')
  const [item, done, total] = [step.text('id'), detail.number('current'), detail.number('total')]
  const status = step.text('status')
  if (status === '') return
  progress?.({
    step: status.toLowerCase(),
    ...(item === '' ? {} : { item }),
    ...(done === 0 ? {} : { doneBytes: done }),
    ...(total === 0 ? {} : { totalBytes: total }),
  })
}

async function* counted(
  parts: AsyncIterable<Uint8Array>,
  { signal, progress }: ImageOptions,
): AsyncGenerator<Uint8Array, void> {
  let doneBytes = 0
  for await (const part of parts) {
    if (signal?.aborted) throw new MeshError('E_CANCELED', 'Cannot import the image: it was canceled')
    doneBytes += part.length
    if (doneBytes > SANDBOX_BOUNDS.imageBytes)
      throw new MeshError(
        'E_TOO_LARGE',
        `Cannot import the image: at most ${SANDBOX_BOUNDS.imageBytes} bytes are taken`,
      )
    progress?.({ step: 'importing', doneBytes })
    yield part
  }
}

/** Registry and path, and the tag. A name with a digest cannot be given to something else. */
function splitName(name: string): { repo: string; tag: string } {
  const [, repository, tag = 'latest'] = /^([^@]*?)(?::([^:/@]+))?$/.exec(name) ?? []
  if (repository === undefined || repository === '' || IMAGE_DIGEST.test(name))
    throw new MeshError('E_BAD_REQUEST', 'Cannot import the image: a name of the form path:tag is wanted')
  return { repo: repository, tag }
}

function savedRefused(): MeshError {
  return new MeshError('E_IMAGE', 'Cannot import the image: an archive of images brings names of its own', {
    hint: 'Send a tar of a root folder, as `docker export` makes it; or import the archive on the node itself',
  })
}
