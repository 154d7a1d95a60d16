/**
 * What a `build` sandbox changed on its root, as a tar that the guest's own tar writes and reads. Nothing outside the guest ever resolves a path on its
 * root or reads this tar: a hostile one harms the sandbox it came from. GNU tar is wanted inside, as every Debian has it.
 */
import { MeshError } from '../../../../protocol/errors.ts'
import type { GuestConnection, GuestProcess } from '../guest/guest-connection.ts'

/** Changed paths as the engine tells them: 0 changed, 1 added, 2 removed */
export interface RootChange {
  readonly path: string
  readonly kind: number
}

/** Places that are not the root's, or made anew at each start; the files of `/etc` are those of `etc-files.ts`. */
const ELSEWHERE = /^\/(?:workspace|home\/agent|run|tmp|dev|proc|sys|etc\/(?:hosts|hostname|resolv\.conf))(?:\/|$)/
const MAX_CHANGES = 1_000_000

/** Pure: what to pack and what is gone. */
export function sortChanges(changes: readonly RootChange[]): { readonly kept: string[]; readonly removed: string[] } {
  const own = changes.filter(({ path }) => path.startsWith('/') && !ELSEWHERE.test(path) && !path.includes('\0'))
  if (own.length > MAX_CHANGES)
    throw new MeshError('E_TOO_LARGE', `Cannot take the root along: more than ${MAX_CHANGES} of its files changed`)
  return {
    kept: own.filter(({ kind }) => kind !== 2).map(({ path }) => path),
    removed: own.filter(({ kind }) => kind === 2).map(({ path }) => path),
  }
}

/** The changed files, as the guest's tar gives them. @throws MeshError E_GUEST_FEATURE */
export async function* packRoot(guest: GuestConnection, kept: readonly string[]): AsyncGenerator<Uint8Array, void> {
  const argv = ['tar', '-C', '/', '--no-recursion', '--numeric-owner', '--null', '-cf', '-', '-T', '-']
  const packed = guest.exec({ argv, cwd: '/', stdin: 'stream' })
  const fed = feed(packed, [Buffer.from(kept.map((path) => `.${path}\0`).join(''))])
  fed.catch(() => {})
  for await (const { fd, bytes } of packed.output) if (fd === 1) yield bytes
  // 1: a file changed while it was read
  const end = await packed.ended
  if (end.kind !== 'exit' || end.code > 1) throw noTar()
}

/** @throws MeshError E_GUEST_FEATURE, E_DISK */
export async function applyRootChanges(
  guest: GuestConnection,
  tar: AsyncIterable<Uint8Array> | undefined,
  removed: readonly string[],
): Promise<void> {
  for (let i = 0; i < removed.length; i += 100)
    await run(guest.exec({ argv: ['rm', '-rf', '--', ...removed.slice(i, i + 100)], cwd: '/' }))
  if (!tar) return
  const unpacked = guest.exec({ argv: ['tar', '-C', '/', '--numeric-owner', '-xpf', '-'], cwd: '/', stdin: 'stream' })
  await Promise.all([feed(unpacked, tar), run(unpacked)])
}

async function feed(process: GuestProcess, parts: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<void> {
  for await (const part of parts) await process.write(part)
  process.endInput()
}

async function run(process: GuestProcess): Promise<void> {
  for await (const _ of process.output) void _
  const end = await process.ended
  if (end.kind === 'disk') throw new MeshError('E_DISK', 'Cannot take the root along: it does not fit')
  if (end.kind !== 'exit' || end.code !== 0) throw noTar()
}

function noTar(): MeshError {
  return new MeshError('E_GUEST_FEATURE', 'Cannot take the root along: tar failed inside the sandbox', {
    hint: 'The image wants GNU tar and rm; without them only the workspace can move',
  })
}
