/** Decides whether moves may happen: compare-and-swap against what the writer sees, all or none. Pure. */
import { MeshError } from '../../../protocol/errors.ts'
import { isObjectId, nameConflict, REF_LIMITS, refKind, refNameFault } from '../../../protocol/artifact/ref-name.ts'
import type { RefMove } from '../../../protocol/artifact/record.ts'
import { type ArtifactState, shownRefs } from './state.ts'

/** Looks at the moves alone. @throws MeshError E_BAD_REQUEST, E_FORBIDDEN for refs of the system */
export function checkMoves(moves: readonly RefMove[]): void {
  if (moves.length > REF_LIMITS.perWriter) {
    throw new MeshError(
      'E_TOO_LARGE',
      `Cannot move refs: ${moves.length} at once, at most ${REF_LIMITS.perWriter} are allowed`,
    )
  }
  const seen = new Set<string>()
  for (const { ref, old, new: tip } of moves) {
    if (ref.startsWith('refs/manyhands/')) {
      throw new MeshError('E_FORBIDDEN', 'Cannot move a ref: those under refs/manyhands/ are kept by the system')
    }
    const fault = refNameFault(ref)
    if (fault !== undefined) throw bad(ref, fault)
    if (seen.has(ref)) throw bad(ref, 'it is moved twice')
    seen.add(ref)
    for (const oid of [old, tip]) if (oid !== null && !isObjectId(oid)) throw bad(ref, 'what is given is no object id')
    if (old === null && tip === null) throw bad(ref, 'it neither is nor shall be')
  }
}

function bad(ref: string, why: string): MeshError {
  return new MeshError('E_BAD_REQUEST', `Cannot move a ref: ${why}`, {
    details: { ref: ref.slice(0, REF_LIMITS.chars) },
  })
}

/**
 * The writer's own refs after the moves.
 * @throws MeshError E_REF_CONFLICT a ref is elsewhere, or two names cannot both exist; E_CONFLICT a canonical ref that only the owner can delete; E_TOO_LARGE
 */
export function planMoves(state: ArtifactState, writer: string, moves: readonly RefMove[]): Record<string, string> {
  const shown = new Map(shownRefs(state, writer))
  const own = new Map(Object.entries(state.heads.get(writer)?.refs ?? {}))
  for (const { ref, old, new: tip } of moves) {
    const found = shown.get(ref) ?? null
    if (found !== old) {
      throw new MeshError(
        'E_REF_CONFLICT',
        `Cannot move ${ref}: it is at ${found ?? 'nothing'}, expected ${old ?? 'nothing'}`,
        {
          hint: 'Read the ref again and build on it.',
          details: { ref, found, expected: old },
        },
      )
    }
    if (tip === null) {
      if (!own.has(ref))
        throw new MeshError('E_CONFLICT', `Cannot delete ${ref}: it is the owner's, who alone can delete it`)
      shown.delete(ref)
      own.delete(ref)
    } else {
      shown.set(ref, tip)
      own.set(ref, tip)
    }
  }
  const clash = nameConflict(shown.keys()) ?? nameConflict(own.keys())
  if (clash !== undefined) {
    throw new MeshError('E_REF_CONFLICT', `Cannot move refs: ${clash[0]} and ${clash[1]} cannot both exist`, {
      details: { ref: clash[1], found: clash[0] },
    })
  }
  if (own.size > REF_LIMITS.perWriter) {
    throw new MeshError(
      'E_TOO_LARGE',
      `Cannot add refs: there would be ${own.size}, at most ${REF_LIMITS.perWriter} are allowed`,
    )
  }
  return Object.fromEntries([...own].sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** What the object under a ref must be; undefined: anything. */
export function wantedType(ref: string): 'commit' | undefined {
  return refKind(ref) === 'tags' ? undefined : 'commit'
}
