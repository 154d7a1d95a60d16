/** Who knocks, and whether they may: tokens of the artifact, and the daemon's own by their level. */
import type { Access } from '../../../protocol/api.ts'
import { MeshError } from '../../../protocol/errors.ts'
import type { Attribution } from '../../../protocol/artifact/record.ts'
import type { ArtifactView } from '../store/artifact-store.ts'
import type { DoorStore } from './door-store.ts'
import type { GitTokens } from './git-tokens.ts'

/** Who a token of the local API belongs to; undefined: it is none. */
export type CallerOf = (token: string) => { readonly name: string; readonly access: Access } | undefined

export interface Admitted {
  readonly view: ArtifactView
  readonly by: Attribution
}

export const CHALLENGE = 'Basic realm="manyhands", charset="UTF-8"'
const HINT = 'Send a token of the artifact or of the node as the password, or as "Authorization: Bearer <token>"'
/** Levels of the local API that may push: those that may make it do work */
const WRITERS: readonly Access[] = ['run', 'admin']

/**
 * @param name id or name of the artifact, as asked for
 * @throws MeshError E_UNAUTHENTICATED before anything is told about the artifact; E_NOT_FOUND for one the token is not for; E_FORBIDDEN
 */
export function admit(
  { store, tokens, callerOf }: { store: DoorStore; tokens: GitTokens; callerOf: CallerOf },
  name: string,
  wanted: 'read' | 'write',
  authorization: string | undefined,
): Admitted {
  const secret = secretOf(authorization)
  if (secret === undefined)
    throw new MeshError('E_UNAUTHENTICATED', 'Cannot serve it: a token is wanted', { hint: HINT })
  const token = tokens.check(secret)
  const caller = token === undefined ? callerOf(secret) : undefined
  if (token === undefined && caller === undefined)
    throw new MeshError('E_UNAUTHENTICATED', 'Cannot serve it: the token is wrong, revoked or has expired', {
      hint: HINT,
    })
  const view = store.get(name)
  // One that is not for this token and one that is not there look the same
  if (view === undefined || (token !== undefined && token.artifact !== view.id))
    throw new MeshError('E_NOT_FOUND', `Cannot serve it: there is no artifact "${name}" for this token`)
  const mayWrite =
    token === undefined ? caller !== undefined && WRITERS.includes(caller.access) : token.access === 'write'
  if (wanted === 'write' && !mayWrite)
    throw new MeshError('E_FORBIDDEN', `Cannot push to ${view.name}: this token may only read`, {
      hint: 'Make one with write access: manyhands artifact token create',
    })
  return { view, by: { ...token?.by, subject: token?.by.subject ?? token?.name ?? caller?.name ?? 'token' } }
}

/** Basic with any user name, or Bearer. */
function secretOf(authorization: string | undefined): string | undefined {
  const [, scheme = '', credentials = ''] = /^(basic|bearer) ([\w.~+/=-]{1,1024})$/i.exec(authorization ?? '') ?? []
  if (scheme.toLowerCase() === 'bearer') return credentials
  if (scheme === '') return undefined
  const text = Buffer.from(credentials, 'base64').toString('utf8')
  const colon = text.indexOf(':')
  if (colon < 0) return undefined
  // Some clients can only be given a user name
  return text.slice(colon + 1) || text.slice(0, colon) || undefined
}
