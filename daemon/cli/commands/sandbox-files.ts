/** Copying files into and out of sandboxes, and listing them. Folders are copied file by file; symbolic links are left out and named. */
import { mkdir, open, readdir, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { type FileEntry, ManyhandsError, type Sandbox } from '../../../sdk/src/index.ts'
import type { Context } from '../context.ts'
import { openFile, standardInput, unreadable } from '../inputs.ts'
import { table } from '../table.ts'
import { safeLine } from '../terminal.ts'
import { unopenable } from '../unwritable.ts'
import { formatSize } from '../units.ts'
import { countOf } from '../views.ts'

/** "dev:/path" names a file inside; a single letter before the colon is no sandbox, nor is what begins with a dot or a slash. */
function insideOf(text: string): { readonly sandbox: string; readonly path: string } | undefined {
  const match = /^([A-Za-z0-9][\w.~-]{0,127}):(.*)$/s.exec(text)
  return match ? { sandbox: match[1] ?? '', path: match[2] === '' ? '.' : (match[2] ?? '.') } : undefined
}

export async function listFiles({ mesh, output }: Context, target: string): Promise<undefined> {
  const { sandbox, path } = insideOf(target) ?? { sandbox: target, path: '.' }
  const entries = await (await (await mesh()).sandboxes.get(sandbox)).files.list(path)
  await output.answer({ entries }, () => {
    if (entries.length === 0) return 'Nothing there.'
    return table(
      [
        { title: 'TYPE', of: (entry: FileEntry) => entry.type },
        { title: 'MODE', of: (entry) => entry.mode.toString(8).padStart(4, '0') },
        { title: 'SIZE', of: (entry) => (entry.type === 'file' ? formatSize(entry.bytes) : undefined), align: 'right' },
        { title: 'MODIFIED', of: (entry) => new Date(entry.modifiedMs).toISOString().slice(0, 19) },
        { title: 'NAME', of: (entry) => entry.name },
      ],
      entries.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
      output.io.columns,
    )
  })
}

interface Copied {
  files: number
  bytes: number
  /** Left out */
  readonly skipped: string[]
}

export async function copy(context: Context, from: string, to: string): Promise<number> {
  const source = insideOf(from)
  const target = insideOf(to)
  if ((source === undefined) === (target === undefined)) {
    throw new ManyhandsError('E_BAD_REQUEST', 'Cannot copy: exactly one side must be inside a sandbox', {
      hint: 'Write it as <sandbox>:<path>, e.g. manyhands sandbox cp report.csv dev:data/',
    })
  }
  if (to === '-' && context.output.json) {
    throw new ManyhandsError('E_BAD_REQUEST', 'Cannot write both the content and JSON to standard output', {
      hint: 'Leave out --json, or copy to a file',
    })
  }
  const copied: Copied = { files: 0, bytes: 0, skipped: [] }
  const { sandboxes } = await context.mesh()
  if (target) await copyIn(await sandboxes.get(target.sandbox), from, target.path, context, copied)
  else if (source) await copyOut(await sandboxes.get(source.sandbox), source.path, to, context, copied)
  // Out to standard output, the content is the answer
  if (to === '-') return 0
  await context.output.answer(copied, () => `copied ${countOf(copied.files, 'file')}, ${formatSize(copied.bytes)}`)
  for (const path of copied.skipped) context.output.note(`left out: ${safeLine(path)}`)
  return 0
}

async function copyIn(box: Sandbox, from: string, to: string, context: Context, copied: Copied): Promise<void> {
  const { signal } = context
  if (from === '-') return writeFile(box, standardInput(context), to, undefined, context, copied)
  const found = await stat(from).catch((cause: unknown) => {
    throw unreadable(from, cause)
  })
  const place = to.endsWith('/') || to === '.' || (await isFolder(box, to)) ? join(to, basename(from)) : to
  if (!found.isDirectory()) return writeFile(box, await openFile(from), place, found.mode & 0o777, context, copied)
  await box.files.mkdir(place, { signal })
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const path = join(from, entry.name)
    signal.throwIfAborted()
    if (entry.isDirectory()) await copyIn(box, path, `${place}/`, context, copied)
    else if (entry.isFile()) {
      const mode = (await stat(path)).mode & 0o777
      await writeFile(box, await openFile(path), `${place}/${entry.name}`, mode, context, copied)
    } else copied.skipped.push(path)
  }
}

async function writeFile(
  box: Sandbox,
  content: AsyncIterable<Uint8Array>,
  to: string,
  mode: number | undefined,
  { signal }: Context,
  copied: Copied,
): Promise<void> {
  await box.files.write(to, counted(content, copied), { mode, signal })
  copied.files++
}

async function* counted(content: AsyncIterable<Uint8Array>, copied: Copied): AsyncGenerator<Uint8Array> {
  for await (const bytes of content) {
    copied.bytes += bytes.length
    yield bytes
  }
}

async function isFolder(box: Sandbox, path: string): Promise<boolean> {
  try {
    return (await box.files.stat(path)).type === 'folder'
  } catch (error) {
    if (error instanceof ManyhandsError && error.code === 'E_NOT_FOUND') return false
    throw error
  }
}

async function copyOut(box: Sandbox, from: string, to: string, context: Context, copied: Copied): Promise<void> {
  const { signal, output } = context
  if (to === '-') {
    for await (const bytes of box.files.stream(from, { signal })) await output.io.writeBytes('stdout', bytes)
    return
  }
  const found = await box.files.stat(from, { signal })
  const here = await stat(to).catch(() => undefined)
  const place = to.endsWith('/') || here?.isDirectory() ? join(to, safeName(basename(from))) : to
  if (found.type !== 'folder') return readFile(box, from, found, place, context, copied)
  await copyFolder(box, from, place, context, copied)
}

async function copyFolder(box: Sandbox, from: string, to: string, context: Context, copied: Copied): Promise<void> {
  await mkdir(to, { recursive: true }).catch((error: unknown) => {
    throw unopenable(error, to)
  })
  for (const entry of await box.files.list(from, { signal: context.signal })) {
    context.signal.throwIfAborted()
    const path = `${from}/${entry.name}`
    const place = join(to, safeName(entry.name))
    if (entry.type === 'folder') await copyFolder(box, path, place, context, copied)
    else if (entry.type === 'file') await readFile(box, path, entry, place, context, copied)
    else copied.skipped.push(path)
  }
}

async function readFile(
  box: Sandbox,
  from: string,
  { mode }: FileEntry,
  to: string,
  { signal }: Context,
  copied: Copied,
): Promise<void> {
  // Never with more rights than a file of one's own has: no setuid, not writable by others
  const file = await open(to, 'w', mode & 0o755).catch((error: unknown) => {
    throw unopenable(error, to)
  })
  await pipeline(counted(box.files.stream(from, { signal }), copied), file.createWriteStream(), { signal })
  copied.files++
}

/** Names come from the guest: one must not lead out of the folder that is copied to. @throws ManyhandsError E_PROTOCOL */
function safeName(name: string): string {
  if (name === '' || name === '.' || name === '..' || /[/\0]/.test(name))
    throw new ManyhandsError('E_PROTOCOL', `Cannot copy a file called "${name}" out of the sandbox`)
  return name
}
