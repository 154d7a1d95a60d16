/** Connections to services of the mesh and to artifacts: through a unix socket of the daemon, which knows where they are and who may. */
import { connect, type Socket } from 'node:net'
import * as z from 'zod'
import { openingFrame, readOpening } from '../frame.ts'
import { Refused } from './failure.ts'

const door = z.string().max(64)
export const UplinkRequest = z.union([
  z.strictObject({ door, service: z.string().max(64), allowed: z.boolean() }),
  z.strictObject({ door, artifacts: z.literal(true) }),
])
export type UplinkRequest = z.infer<typeof UplinkRequest>
export const UplinkAnswer = z.union([
  z.object({ ok: z.literal(true) }),
  z.object({ status: z.number(), reason: z.string().max(64), message: z.string().max(1024) }),
])

/** @throws Refused as the daemon answers */
export async function dialUplink(uplinkPath: string, request: UplinkRequest): Promise<Socket> {
  const socket = connect({ path: uplinkPath, allowHalfOpen: true })
  socket.on('error', () => undefined)
  try {
    socket.write(openingFrame(request))
    const answer = UplinkAnswer.parse(await readOpening(socket))
    if ('ok' in answer) return socket
    throw new Refused(answer.status, answer.reason, answer.message)
  } catch (error) {
    socket.destroy()
    throw error instanceof Refused ? error : new Refused(502, 'unreachable', `${nameOf(request)} cannot be reached`)
  }
}

const nameOf = (request: UplinkRequest): string =>
  'service' in request ? `the service ${request.service}` : 'the artifact'
