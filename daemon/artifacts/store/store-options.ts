/** What a store is opened with. */
import type { Signer } from '../../../protocol/signing/signing.ts'
import type { Journal } from '../../journal/journal.ts'
import type { Quotas } from './usage.ts'

export interface StoreOptions {
  /** Folder of the repositories; made when missing */
  readonly root: string
  readonly journal: Journal
  readonly signer: Signer
  readonly quotas?: Partial<Quotas>
  /** Whether a node belongs to the mesh: of others nothing new is taken. @default everybody */
  readonly isMember?: (node: string) => boolean
  /** Forgets what is kept of an artifact beside the store; after a crash again. Nothing comes under its id before it is done. @default nothing is */
  readonly forget?: (artifact: string) => Promise<void>
  /** Faults that nobody waits for: a repository that could not be brought up to date, a listener that threw */
  readonly onFault?: (what: string, error: unknown) => void
  /** Wall clock, milliseconds since 1970; display only. @default Date.now */
  readonly now?: () => number
}
