/** Images that sandboxes are made from. */
import type { ImageProgress, ImageView } from '../../../sdk/src/index.ts'
import type { Context } from '../context.ts'
import { openFile, standardInput } from '../inputs.ts'
import { ProgressLine } from '../progress.ts'
import { table } from '../table.ts'
import { safeLine } from '../terminal.ts'
import { formatSize } from '../units.ts'

/** An image takes minutes: also a log that is looked at shows that it goes on. Milliseconds */
const LINE_MS = 5_000

interface OnFlags {
  readonly on?: string
}

export async function list({ mesh, output, signal }: Context, { on }: OnFlags): Promise<undefined> {
  const images = await (await mesh()).images.list({ on, signal })
  await output.answer({ images }, () => {
    if (images.length === 0) return 'No images. Build the default one with: manyhands image build-default'
    return table(
      [
        { title: 'NAMES', of: (one: ImageView) => one.names.join(' ') },
        { title: 'SIZE', of: (one) => formatSize(one.bytes), align: 'right' },
        { title: 'CREATED', of: (one) => one.createdAt.slice(0, 19), room: 'first' },
        { title: 'DIGEST', of: (one) => one.digest, room: 'whole' },
      ],
      images,
      output.io.columns,
    )
  })
}

type Make = (options: {
  readonly on: string | undefined
  readonly signal: AbortSignal
  readonly onProgress: (progress: ImageProgress) => void
}) => Promise<ImageView>

async function make({ output, signal }: Context, { on }: OnFlags, run: Make): Promise<undefined> {
  const line = new ProgressLine(output.io, LINE_MS)
  try {
    const image = await run({ on, signal, onProgress: (progress) => line.show(safeLine(progressText(progress))) })
    line.clear()
    await output.answer(image, () => `${image.names.map(safeLine).join(' ')}  ${safeLine(image.digest)}`)
  } finally {
    line.clear()
  }
}

export async function importImage(context: Context, name: string, file: string, flags: OnFlags): Promise<undefined> {
  const tar = file === '-' ? standardInput(context) : await openFile(file)
  return make(context, flags, async (options) => (await context.mesh()).images.import(name, tar, options))
}

export async function pull(context: Context, name: string, flags: OnFlags): Promise<undefined> {
  return make(context, flags, async (options) => (await context.mesh()).images.pull(name, options))
}

export async function buildDefault(context: Context, flags: OnFlags): Promise<undefined> {
  return make(context, flags, async (options) => (await context.mesh()).images.buildDefault(options))
}

function progressText({ step, item, doneBytes, totalBytes }: ImageProgress): string {
  const done = doneBytes === undefined ? undefined : formatSize(doneBytes)
  const total = totalBytes === undefined ? '' : ` of ${formatSize(totalBytes)}`
  return [step, item, done && `${done}${total}`].filter(Boolean).join('  ')
}
