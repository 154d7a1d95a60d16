/** What the store tells, as events of the mesh. Pure. */
import type { ArtifactEvent as ApiEvent } from '../../protocol/api.ts'
import type { ArtifactEvent } from './store/artifact-store.ts'
import { attributionView } from './views.ts'

export function eventsOf(event: ArtifactEvent): ApiEvent[] {
  const { artifact, name, writer, sequence } = event
  switch (event.type) {
    case 'created':
      if (event.forkOf !== undefined) return [{ type: 'artifact-forked', artifact, from: event.forkOf }]
      return [{ type: 'artifact-created', artifact, name }]
    case 'removed':
      return [{ type: 'artifact-removed', artifact }]
    case 'frozen':
      return [{ type: 'artifact-frozen', artifact, writer }]
    case 'moved':
    case 'adopted':
    case 'updated':
      return event.moves
        .filter(({ ref }) => !ref.startsWith('refs/proposals/'))
        .map((move) => ({
          type: 'artifact-pushed',
          artifact,
          name,
          ref: move.ref,
          old: move.old,
          new: move.new,
          writer,
          sequence,
          by: attributionView(event.by),
        }))
  }
}
