/** A file that a command writes its results to, line by line. */
import { once } from 'node:events'
import { createWriteStream, type WriteStream } from 'node:fs'
import { unopenable, unwritable } from './unwritable.ts'

export class OutFile {
  readonly #path: string
  readonly #stream: WriteStream
  #failure: Error | undefined

  private constructor(path: string, stream: WriteStream) {
    this.#path = path
    this.#stream = stream
    // A write may fail when nobody waits for one: without a listener that would end the process
    stream.on('error', (error) => {
      this.#failure ??= error
    })
  }

  /** Made, or emptied. @throws ManyhandsError E_BAD_REQUEST, E_STORAGE */
  static async open(path: string): Promise<OutFile> {
    const file = new OutFile(path, createWriteStream(path))
    try {
      await once(file.#stream, 'open')
    } catch (error) {
      throw unopenable(error, path)
    }
    return file
  }

  /** Resolves when there is room for more. @throws ManyhandsError E_STORAGE, the error of the file system */
  async write(text: string): Promise<void> {
    try {
      if (this.#failure === undefined && !this.#stream.write(text)) await once(this.#stream, 'drain')
    } catch (error) {
      // The listener has it already: what a stream fails with is told to all
      if (this.#failure === undefined) throw error
    }
    this.#throwIfFailed()
  }

  /** Resolves once everything is written. Call it in any case. @throws as `write` */
  async close(): Promise<void> {
    if (!this.#stream.closed) {
      const closed = new Promise<void>((resolve) => void this.#stream.once('close', () => resolve()))
      this.#stream.end()
      await closed
    }
    this.#throwIfFailed()
  }

  #throwIfFailed(): void {
    if (this.#failure !== undefined) throw unwritable(this.#failure, this.#path) ?? this.#failure
  }
}
