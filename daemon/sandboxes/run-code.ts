/** Code in an interpreter whose state is kept from call to call. */
import { MeshError } from '../../protocol/errors.ts'
import type { OpReply, SandboxOp } from '../../protocol/sandbox/op.ts'
import type { GuestConnection } from '../exec/sandbox/guest/guest-connection.ts'
import type { OpLink } from './op-link.ts'

export function runCode(
  _guest: GuestConnection,
  _op: Extract<SandboxOp, { op: 'code' }>,
  _env: Readonly<Record<string, string>>,
  _link: OpLink,
): Promise<OpReply> {
  return Promise.reject(new MeshError('E_GUEST_FEATURE', 'This sandbox keeps no interpreters'))
}
