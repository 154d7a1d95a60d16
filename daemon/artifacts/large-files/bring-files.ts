/** Takes what can be had of some wanted files: from the artifact this one was forked from, then from each holder in turn. */
import type { LfsPointer } from '../../../protocol/artifact/lfs-pointer.ts'
import { type ErrorCode, toMeshError } from '../../../protocol/errors.ts'
import type { LfsStore } from '../git-door/lfs-store.ts'
import { askFiles, type AskOptions } from './ask-files.ts'

export interface BringOptions extends AskOptions {
  readonly files: LfsStore
  readonly note: (what: string, facts: Readonly<Record<string, unknown>>) => void
}

export interface BringOrder {
  readonly artifact: string
  readonly wanted: readonly LfsPointer[]
  readonly source: string | undefined
  readonly peers: Iterable<string>
}

export interface Brought {
  /** Something came, or a holder was busy */
  readonly isHopeful: boolean
  /** Holders that it is no use to ask for more now */
  readonly failed: readonly string[]
}

/** Files of one peer that may fail before the next peer is asked. */
const MAX_FAILURES = 8
/** What is wrong with one file, not with the peer. */
const OF_ONE_FILE: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['E_SIGNATURE', 'E_TOO_LARGE', 'E_QUOTA'])

/** @throws MeshError E_STORAGE; the reason of the signal */
export async function bringFiles(order: BringOrder, options: BringOptions): Promise<Brought> {
  const { artifact, wanted, source, peers } = order
  const missing = (): LfsPointer[] => wanted.filter(({ oid }) => options.files.size(artifact, oid) === undefined)
  const failed: string[] = []
  let isBusy = false
  if (source !== undefined) await share(artifact, wanted, source, options)
  for (const peer of peers) {
    const left = missing()
    if (left.length === 0) break
    const end = await askHolder(peer, artifact, left, options)
    if (end !== 'answered') failed.push(peer)
    isBusy ||= end === 'busy'
  }
  return { isHopeful: isBusy || missing().length < wanted.length, failed }
}

async function share(
  artifact: string,
  wanted: readonly LfsPointer[],
  source: string,
  { files, note, signal }: BringOptions,
): Promise<void> {
  for (const { oid } of wanted) {
    signal.throwIfAborted()
    if (files.size(source, oid) === undefined) continue
    try {
      await files.share(artifact, oid, source)
    } catch (error) {
      // A holder may have what cannot be had from here
      return note('sharing a large file with a fork', { artifact, ...factsOf(error) })
    }
  }
}

async function askHolder(
  peer: string,
  artifact: string,
  wanted: readonly LfsPointer[],
  options: BringOptions,
): Promise<'answered' | 'busy' | 'failed'> {
  let failures = 0
  for (let left = wanted; left.length > 0; ) {
    const { failed } = await askFiles({ peer, artifact, wanted: left }, options).catch((error: unknown) => {
      options.signal.throwIfAborted()
      return { failed: { oid: '', error } }
    })
    if (failed === undefined) break
    const facts = factsOf(failed.error)
    options.note('fetching a large file', { artifact, peer, ...facts })
    if (facts.code === 'E_OVERLOADED') return 'busy'
    if (!OF_ONE_FILE.has(facts.code) || ++failures === MAX_FAILURES) return 'failed'
    left = left.slice(left.findIndex(({ oid }) => oid === failed.oid) + 1)
  }
  return 'answered'
}

function factsOf(error: unknown): { readonly code: ErrorCode; readonly reason: string } {
  const { code, message } = toMeshError(error)
  return { code, reason: message }
}
