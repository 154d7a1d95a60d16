/** Connections to services of the mesh: through a unix socket of the daemon, which knows where they are and who may. */
import { connect, type Socket } from 'node:net'
import * as z from 'zod'
import { openingFrame, readOpening } from '../frame.ts'
import { Refused } from './failure.ts'

export const UplinkRequest = z.object({ door: z.string().max(64), service: z.string().max(64), allowed: z.boolean() })
export type UplinkRequest = z.infer<typeof UplinkRequest>
export const UplinkAnswer = z.union([
  z.object({ ok: z.literal(true) }),
  z.object({ status: z.number(), reason: z.string().max(64), message: z.string().max(1024) }),
])

/** @throws Refused as the daemon answers */
export async function dialService(uplinkPath: string, request: UplinkRequest): Promise<Socket> {
  const socket = connect({ path: uplinkPath, allowHalfOpen: true })
  socket.on('error', () => undefined)
  try {
    socket.write(openingFrame(request))
    const answer = UplinkAnswer.parse(await readOpening(socket))
    if ('ok' in answer) return socket
    throw new Refused(answer.status, answer.reason, answer.message)
  } catch (error) {
    socket.destroy()
    throw error instanceof Refused
      ? error
      : new Refused(502, 'unreachable', `the service ${request.service} cannot be reached`)
  }
}
