/** What the inside of a sandbox says, in the words of the API. */
import type { ExecEnd, FileEntry, ProcessView } from '../../protocol/api-sandboxes.ts'
import type { BackgroundView, FileEntry as GuestEntry, GuestEnd } from '../exec/sandbox/guest/guest-connection.ts'

export function execEnd(end: GuestEnd): ExecEnd {
  switch (end.kind) {
    case 'exit':
      return { reason: 'exit', code: end.code }
    case 'signal':
      return { reason: 'signal', signal: end.signal }
    case 'not-started':
      return { reason: 'not-started', message: end.message.slice(0, 1_000) }
    default:
      return { reason: end.kind }
  }
}

export function processView({ id, name, pid, running, outputBytes }: BackgroundView): ProcessView {
  return { id, name: name.slice(0, 1_000), pid, running, outputBytes }
}

export function fileEntry({ name, type, bytes, mode, modifiedMs }: GuestEntry): FileEntry {
  return { name, type, bytes, mode, modifiedMs }
}
