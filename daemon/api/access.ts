/** Checks the token of a request against the access level of its route. Once, for every route: a row cannot forget it. */
import type { Access } from '../../protocol/api.ts'
import { MeshError } from '../../protocol/errors.ts'
import type { Caller, Tokens } from './tokens.ts'

const LEVELS: readonly Access[] = ['open', 'read', 'run', 'admin']
const ANYONE: Caller = { name: 'anyone', access: 'open' }

/** Wrong tokens allowed in a burst, and how many a second after it */
const BURST = 20
const PER_SECOND = 1

export interface AccessCheck {
  /** @throws MeshError E_UNAUTHENTICATED, E_FORBIDDEN, E_RATE_LIMITED after many wrong tokens */
  admit(access: Access, authorization: string | undefined): Caller
}

/** @param now monotonic milliseconds */
export function createAccessCheck(tokens: Tokens, now: () => number = () => performance.now()): AccessCheck {
  // A token bucket of failures: each wrong token takes one
  let left = BURST
  let filledAt = now()
  const fail = (): MeshError => {
    const time = now()
    left = Math.min(BURST, left + ((time - filledAt) / 1000) * PER_SECOND)
    filledAt = time
    if (left < 1)
      return new MeshError('E_RATE_LIMITED', 'Cannot check the token: too many wrong ones came', {
        retryAfterMs: Math.ceil(((1 - left) / PER_SECOND) * 1000),
      })
    left -= 1
    return new MeshError('E_UNAUTHENTICATED', 'Cannot serve the request: its token is wrong', { hint: TOKEN_HINT })
  }
  return {
    admit(access, authorization) {
      if (access === 'open') return ANYONE
      if (authorization === undefined)
        throw new MeshError('E_UNAUTHENTICATED', 'Cannot serve the request: it has no token', { hint: TOKEN_HINT })
      const token = /^Bearer ([\w.~+/=-]{1,512})$/i.exec(authorization)?.[1]
      const caller = token === undefined ? undefined : tokens.check(token)
      if (caller === undefined) throw fail()
      if (LEVELS.indexOf(caller.access) < LEVELS.indexOf(access))
        throw new MeshError(
          'E_FORBIDDEN',
          `Cannot serve the request: its token may "${caller.access}", and "${access}" is needed`,
          {
            hint: 'Use a token with that access; an admin makes one with: manyhands token create <name> --access <access>',
          },
        )
      return caller
    },
  }
}

const TOKEN_HINT =
  'Send "Authorization: Bearer <token>" with the content of the token file; `manyhands paths` shows where it is'
