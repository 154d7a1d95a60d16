/** Where Git clients come in: paths under /git/, on every listener, past the guard like all else. Tokens and everything behind are the door's own. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { sendProblem } from './respond.ts'

/** How a request came that is not from a listener: whoever brings it vouches for its caller, who holds no credential and must get none. */
export interface GitWay {
  /** In place of what the request says */
  readonly authorization: string
  /** URL under which the caller finds repositories, ending in "/" */
  readonly repositories: string
}

/** Answers a request to its end, whatever happens. */
export type GitHandler = (
  request: IncomingMessage,
  response: ServerResponse,
  signal: AbortSignal,
  way?: GitWay,
) => Promise<void>

export const GIT_PREFIX = '/git/'

export function isForGit(target: string): boolean {
  return target.startsWith(GIT_PREFIX)
}

/** Never rejects. */
export async function serveGit(
  find: () => Promise<GitHandler>,
  request: IncomingMessage,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<void> {
  try {
    const serve = await find()
    await serve(request, response, signal)
  } catch (error) {
    sendProblem(response, error, true)
  }
}
