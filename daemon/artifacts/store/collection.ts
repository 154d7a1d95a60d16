/** Collects one artifact's repository: what to keep beyond its refs, the work itself, and what is to be remembered of it. In the artifact's turn. */
import { openRecord } from '../../../protocol/artifact/record.ts'
import type { Journal } from '../../journal/journal.ts'
import type { RecordChain } from '../records/record-chain.ts'
import type { CollectedBytes, CollectOptions } from './artifact-store.ts'
import { collectGarbage } from './collect.ts'
import { KEEP_MS } from './collect-policy.ts'
import type { Committer } from './committer.ts'
import type { ObjectReader } from './object-reader.ts'
import type { Repositories } from './repositories.ts'
import { leftWrite } from './rows.ts'
import type { ArtifactState } from './state.ts'

export interface CollectionParts {
  readonly journal: Journal
  readonly repositories: Repositories
  readonly committer: Committer
  readonly chain: RecordChain
  readonly reader: ObjectReader
  /** Milliseconds since 1970 */
  readonly now: () => number
}

/** Records that are looked at for what they moved away from; of older ones nothing is kept. */
const MAX_RECORDS = 2_000
const PAGE = 50

export async function collectArtifact(
  parts: CollectionParts,
  before: ArtifactState,
  { keepRecent = false, signal }: CollectOptions,
): Promise<CollectedBytes> {
  const { journal, repositories, committer, reader } = parts
  const { id } = before.row
  const state = await repositories.settle(before)
  const path = repositories.path(id)
  const recent = keepRecent ? await movedAway(parts, state, path) : { tips: [], since: undefined }
  const sizes = await collectGarbage(path, state, reader, recent.tips, signal)
  await committer.recount(state, { ...state, row: { ...state.row, bytes: sizes.bytesAfter } })
  await journal.append({ type: 'artifact.settled', body: Buffer.from(id), writes: [leftWrite(id, recent.since)] })
  return sizes
}

/** What refs named until lately, by the records of all writers, and since when the first of it is left. */
async function movedAway(
  { chain, now }: CollectionParts,
  { heads }: ArtifactState,
  path: string,
): Promise<{ tips: string[]; since: number | undefined }> {
  const from = now() - KEEP_MS
  const tips: string[] = []
  let since: number | undefined
  let left = MAX_RECORDS
  for (const head of heads.values()) {
    for (let end = head.sequence; end > 0 && left > 0; end -= PAGE) {
      const after = Math.max(0, end - PAGE)
      const texts = await chain.range(path, head, after, end - after)
      left -= texts.length
      const recent = texts.map((text) => openRecord(text).record).filter(({ at }) => at >= from)
      for (const { at, moves } of recent) {
        const old = moves.flatMap((move) => move.old ?? [])
        if (old.length > 0) since = Math.min(since ?? at, at)
        tips.push(...old)
      }
      if (recent.length < texts.length) break
    }
  }
  return { tips, since }
}
