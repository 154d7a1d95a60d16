/** What the second half of the composition root stands on: a node that is on its way into the mesh. */
import type { MeshEventLog } from './api/mesh-event-log.ts'
import type { DirectoryService } from './discovery/directory-service.ts'
import type { Offer } from './discovery/own-card.ts'
import type { JoinServer } from './identity/join-server.ts'
import type { MembershipService } from './identity/membership-service.ts'
import type { Journal } from './journal/journal.ts'
import type { MeshNet } from './net/mesh-net.ts'
import type { Setting } from './setting.ts'
import type { StatusSources } from './status.ts'

export interface ServeParts {
  readonly setting: Setting
  readonly journal: Journal
  readonly membership: MembershipService
  readonly directory: DirectoryService
  readonly net: MeshNet
  readonly joins: JoinServer
  readonly events: MeshEventLog
  /** From now on this node offers what the function says */
  readonly onOffers: (offers: () => Offer) => void
  /** From now on this node has these capabilities beside its hands */
  readonly onLabels: (labels: readonly string[]) => void
  readonly status: () => Pick<StatusSources, 'startedAt' | 'joinedAfterMs'>
  readonly shutdown: (drainMs: number | undefined) => void
  /** Says how to end what was started; ended in reverse order */
  readonly onClose: (name: string, close: (drainMs: number) => Promise<void> | void) => void
}
