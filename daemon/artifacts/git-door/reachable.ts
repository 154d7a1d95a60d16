/**
 * Which objects may be given away. Version 2 of the protocol lets a client name any object that exists, so Git alone would serve what was cut off from every ref
 * and not yet collected. Here a wanted object is the tip of a ref, or something that is found on the way from one.
 */
import { MeshError } from '../../../protocol/errors.ts'
import { runGit, spawnGit } from '../store/git-process.ts'

const SEARCH_MS = 60_000
const LINE = 41

/**
 * @param tips objects known to be reachable
 * @throws MeshError E_NOT_FOUND for an object that no ref leads to, or the signal's reason
 */
export async function checkWants(
  repository: string,
  wants: readonly string[],
  tips: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<void> {
  const unknown = new Set(wants.filter((oid) => !tips.has(oid)))
  if (unknown.size === 0) return
  await dropCommits(repository, unknown, signal)
  if (unknown.size > 0) await dropObjects(repository, unknown, signal)
  const [first] = unknown
  if (first === undefined) return
  signal.throwIfAborted()
  throw new MeshError('E_NOT_FOUND', `Cannot serve the fetch: no ref leads to object ${first}`)
}

/** One that moved a moment ago is the usual case, and a walk over commits alone is quick. */
async function dropCommits(repository: string, unknown: Set<string>, signal: AbortSignal): Promise<void> {
  if (unknown.size > 256) return
  const input = [...unknown].map((oid) => `${oid}^{commit}\n`).join('')
  const checked = await runGit(
    { args: ['cat-file', '--batch-check=%(objectname)'], repository, foreign: false, signal },
    input,
  )
  const commits = new Set(
    checked.stdout
      .toString('latin1')
      .split('\n')
      .filter((oid) => unknown.has(oid)),
  )
  if (commits.size > 0) await walk(repository, ['--all'], commits, unknown, signal)
}

function dropObjects(repository: string, unknown: Set<string>, signal: AbortSignal): Promise<void> {
  const args = ['--objects', '--no-object-names', '--use-bitmap-index', '--all']
  return walk(repository, args, new Set(unknown), unknown, signal)
}

/** Removes from `unknown` what is seen on the way; ends when all of `sought` were seen. */
async function walk(
  repository: string,
  args: readonly string[],
  sought: Set<string>,
  unknown: Set<string>,
  signal: AbortSignal,
): Promise<void> {
  const limits = { wallMs: SEARCH_MS }
  const child = await spawnGit({ args: ['rev-list', ...args], repository, foreign: false, signal, limits })
  child.stdin.end()
  try {
    let rest = ''
    for await (const chunk of child.stdout) {
      const text = rest + String(chunk)
      const end = text.length - (text.length % LINE)
      for (let at = 0; at < end; at += LINE) {
        const oid = text.slice(at, at + LINE - 1)
        if (sought.delete(oid)) unknown.delete(oid)
      }
      if (sought.size === 0) return
      rest = text.slice(end)
    }
  } finally {
    child.kill()
    await child.ended
  }
}
