/**
 * A pack that is the whole of its repository, found again when somebody wants all of it: then the file is sent as it lies there, and no Git is started to make it anew.
 *
 *   <repository>/whole-pack   {"v":1,"pack":"pack-<40 hex digits>","refs":"<sha256 of packed-refs, hex>"}
 *
 * It is written after a collection that kept nothing but what refs reach, and counts as long as the refs are the same: so everything in that pack is reached by one of
 * them, and nothing else is given away. It is derived: without it, or when it names what is not there any more, Git makes the pack.
 */
import { createHash } from 'node:crypto'
import { type FileHandle, open, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import * as z from 'zod'
import { packedRefs, replaceFile } from './repository-files.ts'
import { type ArtifactState, contentTips, physicalRefs } from './state.ts'

const NAME = 'whole-pack'
const MAX_BYTES = 1_024
const noteSchema = z.strictObject({
  v: z.literal(1),
  pack: z.string().regex(/^pack-[0-9a-f]{40}$/),
  refs: z.string().regex(/^[0-9a-f]{64}$/),
})

export interface WholePack {
  /** What refs name other than records and proofs: whoever may have all of these may have all of the pack */
  readonly tips: ReadonlySet<string>
  /** At its beginning; the caller's to close */
  readonly file: FileHandle
  readonly bytes: number
}

/** Right after everything the refs reach, and nothing else, was packed into one. */
export async function noteWholePack(path: string, state: ArtifactState): Promise<void> {
  const packs = (await readdir(join(path, 'objects', 'pack'))).filter((name) => name.endsWith('.pack'))
  const [pack] = packs
  // An empty repository has none
  if (pack === undefined || packs.length > 1) return
  const note = { v: 1, pack: pack.slice(0, -'.pack'.length), refs: refsDigest(state) }
  await replaceFile(path, NAME, JSON.stringify(note))
}

export async function forgetWholePack(path: string): Promise<void> {
  await rm(join(path, NAME), { force: true })
}

/** Opens the pack that holds exactly what all refs reach. @param path of a prepared repository @returns undefined when none is known */
export async function openWholePack(path: string, state: ArtifactState): Promise<WholePack | undefined> {
  const pack = await packOf(path, refsDigest(state))
  if (pack === undefined) return undefined
  const file = await open(join(path, 'objects', 'pack', `${pack}.pack`), 'r').catch(() => undefined)
  if (file === undefined) return undefined
  try {
    return { file, bytes: (await file.stat()).size, tips: contentTips(state) }
  } catch (error) {
    await file.close()
    throw error
  }
}

async function packOf(path: string, digest: string): Promise<string | undefined> {
  const text = await readFile(join(path, NAME)).catch(() => undefined)
  if (text === undefined || text.length > MAX_BYTES) return undefined
  const note = noteSchema.safeParse(parsed(text.toString('utf8')))
  return note.success && note.data.refs === digest ? note.data.pack : undefined
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const refsDigest = (state: ArtifactState): string =>
  createHash('sha256')
    .update(packedRefs(physicalRefs(state)))
    .digest('hex')
