/** Every decision of the door to the outside. */
import type { EgressEvent } from '../../../sdk/src/index.ts'
import { connectionNotes } from '../connection-notes.ts'
import type { Context } from '../context.ts'
import type { Output } from '../io.ts'
import { safeLine } from '../terminal.ts'
import { formatSize } from '../units.ts'

/** With --follow until Ctrl-C, which is how it is meant to end. */
export async function log({ mesh, output, signal }: Context, flags: { readonly follow?: boolean }): Promise<number> {
  const { egress } = await mesh()
  if (!flags.follow) {
    const events = await egress.recent({ signal })
    if (events.length === 0 && !output.json) await output.line('No decisions yet.')
    for (const event of events) await tell(event, output)
    return 0
  }
  try {
    for await (const event of egress.log({ signal, ...connectionNotes(output) })) await tell(event, output)
  } catch (error) {
    if (!signal.aborted) throw error
  }
  return 0
}

async function tell(event: EgressEvent, output: Output): Promise<void> {
  if (output.json) await output.jsonLine(event)
  else await output.line(safeLine(eventText(event)))
}

function eventText(event: EgressEvent): string {
  const { subject, bytesUp, bytesDown } = event
  const who = Object.entries(subject)
    .filter(([kind]) => kind !== 'node')
    .map(([kind, name]) => `${kind}/${String(name)}`)
  const where =
    event.host === undefined ? undefined : `${event.host}${event.port === undefined ? '' : `:${event.port}`}`
  const carried =
    bytesUp === undefined && bytesDown === undefined
      ? undefined
      : `${formatSize(bytesUp ?? 0)} up, ${formatSize(bytesDown ?? 0)} down`
  return [
    event.at,
    event.decision.padEnd(6),
    event.kind.padEnd(7),
    who.join(' ') || '-',
    event.method,
    where === undefined ? undefined : `${where}${event.path ?? ''}`,
    event.reason,
    event.rule === undefined ? undefined : `(rule ${event.rule})`,
    carried,
    event.note,
  ]
    .filter((part) => part !== undefined)
    .join('  ')
}
