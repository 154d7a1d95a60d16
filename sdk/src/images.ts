/** Images that sandboxes are made from, on this node or, with `on`, on another. */
import type { BoxOpen, ImageProgress, ImageView } from '../../protocol/api.ts'
import { BoxStream } from './box-stream.ts'
import type { Client } from './client.ts'
import type { DuplexSource } from './duplex.ts'
import { protocolError } from './errors.ts'
import { lines } from './sandbox-files.ts'
import { imageProgress } from './sandbox-replies.ts'
import { decodeText } from './shape.ts'

export interface ImageOptions {
  /** Name or id of a node; making images on another one is for its operator to allow (`sandbox.imagesFromPeers`). @default this one */
  readonly on?: string | undefined
  /** Told how far it is. @default none */
  readonly onProgress?: ((progress: ImageProgress) => void) | undefined
  readonly signal?: AbortSignal | undefined
}

export class Images {
  readonly #client: Client
  readonly #duplex: DuplexSource

  constructor(client: Client, duplex: DuplexSource) {
    this.#client = client
    this.#duplex = duplex
  }

  async list(options: Pick<ImageOptions, 'on' | 'signal'> = {}): Promise<readonly ImageView[]> {
    const { on, signal } = options
    return (await this.#client.call('GET /v0/images', { query: on === undefined ? {} : { on }, signal })).images
  }

  /** From a registry. @throws ManyhandsError E_IMAGE */
  pull(image: string, options: ImageOptions = {}): Promise<ImageView> {
    return this.#run({ op: 'image-pull', image, ...onOf(options) }, options)
  }

  /** From a tar of a root folder, or an image as `docker save` writes it. @throws ManyhandsError E_IMAGE, E_TOO_LARGE */
  import(image: string, tar: AsyncIterable<Uint8Array>, options: ImageOptions = {}): Promise<ImageView> {
    return this.#run({ op: 'image-import', image, ...onOf(options) }, options, tar)
  }

  /** The default image, built from Debian packages. @throws ManyhandsError E_IMAGE */
  buildDefault(options: ImageOptions = {}): Promise<ImageView> {
    return this.#run({ op: 'image-build', ...onOf(options) }, options)
  }

  async #run(open: BoxOpen, options: ImageOptions, tar?: AsyncIterable<Uint8Array>): Promise<ImageView> {
    const box = new BoxStream(await this.#duplex(options.signal), open, options.signal)
    if (tar !== undefined) void box.pump(tar)
    for await (const line of lines(box))
      options.onProgress?.(decodeText(imageProgress, line, 'the progress of an image'))
    const { image } = await box.done
    if (!image) throw protocolError('Cannot read the end of an operation: it names no image')
    return image
  }
}

function onOf({ on }: ImageOptions): { readonly on?: string } {
  return on === undefined ? {} : { on }
}
