/** The owner's node takes over what its delegates did, by a record of its own: what goes forward from where the canonical refs stand, at once and by itself. */
import { takeOver, type WriterMove } from '../../../protocol/artifact/canonical-refs.ts'
import { MeshError } from '../../../protocol/errors.ts'
import type { ArtifactEvent, ArtifactStore } from '../store/artifact-store.ts'
import { runGit } from '../store/git-process.ts'

/** Tries against others who move the same refs at the same time. */
const TRIES = 3

/** Does nothing unless this node owns the artifact, alone decides, and the writer is a delegate. @returns the refs that were moved */
export async function takeOverFrom(
  event: Pick<ArtifactEvent, 'artifact' | 'writer' | 'moves' | 'by'>,
  store: ArtifactStore,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const { artifact, writer, moves, by } = event
  for (let tries = 1; ; tries++) {
    const view = store.get(artifact)
    if (view === undefined || !view.mine || view.settings.threshold > 1 || writer === view.owner) return []
    if (!view.settings.delegates.includes(writer)) return []
    const forward = await decide(store, artifact, moves, signal)
    if (forward.length === 0) return []
    try {
      const reason = `taken over from delegate ${writer}`
      await store.transact(artifact, forward, { by: { ...by, reason }, checked: true, ...(signal && { signal }) })
      return forward.map(({ ref }) => ref)
    } catch (error) {
      const moved = error instanceof MeshError && error.code === 'E_REF_CONFLICT'
      if (!moved || tries === TRIES) throw error
    }
  }
}

async function decide(
  store: ArtifactStore,
  artifact: string,
  moves: readonly WriterMove[],
  signal: AbortSignal | undefined,
): Promise<WriterMove[]> {
  const canonical = store.refs(artifact, { as: null })
  const forward = new Set<string>()
  for (const { ref, new: tip } of moves) {
    const standing = canonical.get(ref)
    if (standing === undefined || tip === null || tip === standing) continue
    if (await isAncestor(store, artifact, standing, tip, signal)) forward.add(`${standing} ${tip}`)
  }
  return takeOver(canonical, moves, (a, b) => forward.has(`${a} ${b}`))
}

async function isAncestor(
  store: ArtifactStore,
  artifact: string,
  a: string,
  b: string,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const repository = await store.repository(artifact)
  const args = ['merge-base', '--is-ancestor', a, b]
  const { code } = await runGit({ args, repository, foreign: false, ...(signal && { signal }) })
  return code === 0
}
