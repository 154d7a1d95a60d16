/** What the node and the mesh look like: status, peers, capabilities, doctor, members, config, events; and invite, revoke, tokens. */
import { type InviteView, ManyhandsError } from '../../../sdk/src/index.ts'
import { connectionNotes } from '../connection-notes.ts'
import type { Context } from '../context.ts'
import { pairs, table } from '../table.ts'
import { safeJson, safeLine } from '../terminal.ts'
import { parseDuration } from '../units.ts'
import { capabilitiesText, doctorText, membersText, meshEventText, peersText, statusText } from '../views.ts'

export async function status({ mesh, output }: Context): Promise<undefined> {
  const view = await (await mesh()).status()
  await output.answer(view, () => statusText(view))
}

export async function peers({ mesh, output }: Context): Promise<undefined> {
  const list = await (await mesh()).peers()
  await output.answer({ peers: list }, () => peersText(list, output.io.columns))
}

export async function capabilities({ mesh, output }: Context, label: string | undefined): Promise<undefined> {
  const list = await (await mesh()).capabilities(label)
  await output.answer({ capabilities: list }, () => capabilitiesText(list, output.io.columns))
}

/** Exit code 1 when a check fails. */
export async function doctor({ mesh, output }: Context): Promise<number> {
  const view = await (await mesh()).doctor()
  await output.answer(view, () => doctorText(view))
  return view.ok ? 0 : 1
}

export async function members({ mesh, output }: Context): Promise<undefined> {
  const view = await (await mesh()).members()
  await output.answer(view, () => membersText(view, output.io.columns))
}

export interface InviteFlags {
  readonly role?: string
  readonly ttl?: string
}

export async function invite({ mesh, output }: Context, flags: InviteFlags): Promise<undefined> {
  const { role } = flags
  if (role !== undefined && role !== 'admin' && role !== 'member') {
    throw new ManyhandsError('E_BAD_REQUEST', `Cannot invite as "${role}"`, { hint: 'One of: admin, member' })
  }
  const ttlMs = flags.ttl === undefined ? undefined : parseDuration(flags.ttl)
  const view = await (await mesh()).invite({ ...(role ? { role } : {}), ...(ttlMs === undefined ? {} : { ttlMs }) })
  await output.answer(view, () => safeLine(view.invite))
  if (!output.json) output.note(inviteNote(view))
}

function inviteNote(view: InviteView): string {
  return [
    `For one ${view.role} of mesh ${safeLine(view.meshName)}, until ${safeLine(view.expiresAt)}. Keep it secret.`,
    `fingerprint: ${safeLine(view.fingerprint)} (the joining node shows the same)`,
    'next, on the other host: manyhands join <invite> && manyhands up',
  ].join('\n')
}

/** @param who id or name of a member */
export async function revoke({ mesh, output }: Context, who: string): Promise<undefined> {
  const open = await mesh()
  const { members: list } = await open.members()
  const found = list.filter((member) => member.id === who || member.name === who)
  if (found.length !== 1) {
    const why = found.length === 0 ? 'no member has that id or name' : 'several members have that name'
    throw new ManyhandsError('E_NOT_FOUND', `Cannot revoke "${who}": ${why}`, { hint: 'See: manyhands members' })
  }
  const view = await open.revoke(found[0]?.id ?? who)
  await output.answer(view, () => membersText(view, output.io.columns))
}

export async function configShow({ mesh, output }: Context, flags: { readonly origin?: boolean }): Promise<undefined> {
  const view = await (await mesh()).config()
  await output.answer(flags.origin ? view : { config: view.config }, () => {
    if (!flags.origin) return safeJson(view.config, 2)
    const rows = Object.entries(view.origin).map(([key, origin]) => ({
      key,
      origin,
      value: JSON.stringify(valueAt(view.config, key)),
    }))
    return table(
      [
        { title: 'KEY', of: (row: (typeof rows)[number]) => row.key },
        { title: 'VALUE', of: (row) => row.value },
        { title: 'FROM', of: (row) => row.origin },
      ],
      rows,
      output.io.columns,
    )
  })
}

function valueAt(config: unknown, key: string): unknown {
  return key.split('.').reduce<unknown>((value, name) => {
    return typeof value === 'object' && value !== null && Object.hasOwn(value, name)
      ? Reflect.get(value, name)
      : undefined
  }, config)
}

/** Ends at Ctrl-C, which is how it is meant to end. */
export async function events({ mesh, output, signal }: Context): Promise<number> {
  const open = await mesh()
  try {
    for await (const event of open.events({ signal, ...connectionNotes(output) })) {
      if (output.json) await output.jsonLine(event)
      else await output.line(meshEventText(event))
    }
  } catch (error) {
    if (!signal.aborted) throw error
  }
  return 0
}

export async function tokenList({ mesh, output }: Context): Promise<undefined> {
  const tokens = await (await mesh()).tokens()
  await output.answer({ tokens }, () =>
    pairs([['NAME', 'ACCESS'], ...tokens.map((one) => [safeLine(one.name), one.access] as const)]),
  )
}

export async function tokenCreate(
  { mesh, output }: Context,
  name: string,
  flags: { readonly access?: string },
): Promise<undefined> {
  const access = flags.access ?? 'run'
  if (access !== 'read' && access !== 'run' && access !== 'admin') {
    throw new ManyhandsError('E_BAD_REQUEST', `Cannot give access "${access}"`, { hint: 'One of: read, run, admin' })
  }
  const token = await (await mesh()).createToken({ name, access })
  await output.answer({ name, access, token }, () => safeLine(token))
  if (!output.json) output.note('It is shown this once.')
}

export async function tokenRevoke({ mesh, output }: Context, name: string): Promise<undefined> {
  const tokens = await (await mesh()).revokeToken(name)
  await output.answer({ tokens }, () => `revoked ${safeLine(name)}`)
}
