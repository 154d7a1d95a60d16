/** Code in an interpreter whose state is kept from call to call, joined to its asker. */
import type { OpReply, SandboxOp } from '../../protocol/sandbox/op.ts'
import type { GuestConnection } from '../exec/sandbox/guest/guest-connection.ts'
import { runCode as run } from '../exec/sandbox/guest/interpreter/interpreter.ts'
import { execEnd } from './guest-end.ts'
import type { OpLink } from './op-link.ts'

/** @param env of the sandbox's door, for an interpreter that is started now */
export async function runCode(
  guest: GuestConnection,
  op: Extract<SandboxOp, { op: 'code' }>,
  env: Readonly<Record<string, string>>,
  link: OpLink,
): Promise<OpReply> {
  const { language, code, context, timeoutMs } = op
  const { results, error, end, stateKept } = await run(guest, {
    language,
    code,
    env,
    signal: link.signal,
    onOutput: (fd, bytes) => link.send(fd, bytes),
    ...(context === undefined ? {} : { context }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  })
  return {
    results: results.map(({ type, data, base64 }) => ({ type, data, ...(base64 ? { base64: true } : {}) })),
    end: execEnd(end),
    stateKept,
    ...(error === undefined ? {} : { error }),
  }
}
