import { MeshError } from '../../../../protocol/errors.ts'
import type { GuestConnection, GuestOptions, GuestTransport } from './guest-connection.ts'
import { HelperConnection } from './helper/helper-connection.ts'
import { ShellConnection } from './shell/shell-connection.ts'

/** How long an agent may take to answer, milliseconds, unless the caller's signal says otherwise. */
const ANSWER_MS = 10_000

/**
 * Begins a conversation with the agent behind a transport, new or used before: what stood in the pipes is dropped, the commands of an earlier
 * conversation end, its background processes stay.
 * @throws MeshError E_SANDBOX_LOST when no agent answers in time; the transport is then closed
 */
export async function connectGuest(
  transport: GuestTransport,
  options: GuestOptions & { readonly agent: 'helper' | 'shell'; readonly signal?: AbortSignal },
): Promise<GuestConnection> {
  const late = AbortSignal.timeout(ANSWER_MS)
  const signal = options.signal === undefined ? late : AbortSignal.any([options.signal, late])
  if (!/^[0-9a-f]{32}$/.test(options.token)) throw new MeshError('E_INTERNAL', 'The token of an agent is malformed')
  const kind = options.agent === 'helper' ? HelperConnection : ShellConnection
  return kind.open(transport, options, signal)
}
