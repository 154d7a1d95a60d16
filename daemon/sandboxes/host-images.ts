/** The images of this node as ops ask for them: its own user makes any, other nodes none, or new ones alone where the operator allows it. */
import { createHash } from 'node:crypto'
import type { ImageView } from '../../protocol/api-sandboxes.ts'
import { MeshError } from '../../protocol/errors.ts'
import type { OpReply, SandboxOp } from '../../protocol/sandbox/op.ts'
import type { ImageOptions, ImageView as OwnImage, SandboxExecutor } from '../exec/sandbox/sandbox.ts'
import type { OpLink } from './op-link.ts'
import { received } from './run-stream.ts'

export interface HostImagesOptions {
  readonly executor: Pick<SandboxExecutor, 'info' | 'images'>
  /** Image of sandboxes that name none */
  readonly defaultImage: string
  /** Whether other nodes may make images here */
  readonly imagesFromPeers: boolean
  /** There is another image than before */
  readonly onImages: () => void
}

export type ImageOp = Extract<SandboxOp, { op: 'image-pull' | 'image-import' | 'image-build' }>

export class HostImages {
  readonly #options: HostImagesOptions

  constructor(options: HostImagesOptions) {
    this.#options = options
  }

  async list(): Promise<readonly ImageView[]> {
    return (await this.#options.executor.images.list()).map(imageView)
  }

  /** @param own for the user of this node. @throws MeshError E_FORBIDDEN for another node, E_CONFLICT when the name is taken; E_IMAGE, E_TOO_LARGE */
  async make(op: ImageOp, own: boolean, link: OpLink): Promise<OpReply> {
    if (!own && !this.#options.imagesFromPeers)
      throw new MeshError('E_FORBIDDEN', 'Cannot make the image: this node makes none for other nodes', {
        hint: 'Ask the operator of that node to make it there, or to set sandbox.imagesFromPeers',
      })
    // Progress is told while there is room: a slow asker does not hold the work back
    let telling: Promise<void> | undefined
    const options: ImageOptions = {
      signal: link.signal,
      onlyNew: !own,
      progress: (step) => {
        telling ??= link
          .send(1, Buffer.from(`${JSON.stringify(step)}\n`))
          .catch(() => undefined)
          .finally(() => (telling = undefined))
      },
    }
    const image = await this.#make(op, options, link)
    this.#options.onImages()
    return { image: imageView(image) }
  }

  #make(op: ImageOp, options: ImageOptions, link: OpLink): Promise<OwnImage> {
    const { executor, defaultImage } = this.#options
    switch (op.op) {
      case 'image-build':
        return executor.images.buildDefault(defaultImage, options)
      case 'image-pull':
        return executor.images.pull(op.image, options)
      case 'image-import':
        return executor.images.import(received(link), op.image, options)
    }
  }

  /** Labels of the card that say which images are here, so that others find them. */
  async labels(): Promise<string[]> {
    const { executor, defaultImage } = this.#options
    if (executor.info() === undefined) return []
    const names = (await executor.images.list()).flatMap((image) => image.names)
    const labels = names.slice(0, IMAGE_LABELS).map(imageLabel)
    return names.some((name) => sameImage(name, defaultImage)) ? [DEFAULT_IMAGE_LABEL, ...labels] : labels
  }
}

/** A card has room for few labels. */
const IMAGE_LABELS = 40
export const DEFAULT_IMAGE_LABEL = 'image/default'

/** "image/debian:12"; a name that no label can hold is named by its digest. */
export function imageLabel(name: string): string {
  const full = withTag(name)
  if (/^[A-Za-z0-9][A-Za-z0-9._:-]{0,56}$/.test(full)) return `image/${full}`
  return `image/${createHash('sha256').update(full).digest('hex').slice(0, 32)}`
}

const withTag = (name: string): string => (/[:@][^/]*$/.test(name) ? name : `${name}:latest`)
const sameImage = (a: string, b: string): boolean => withTag(a) === withTag(b)

function imageView({ digest, names, bytes, createdAt }: OwnImage): ImageView {
  return { digest, names, bytes, createdAt: new Date(createdAt).toISOString() }
}
