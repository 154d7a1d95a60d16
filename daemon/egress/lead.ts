/** Ways to lead a door into a guest. */
import { connect, type Server } from 'node:net'
import type { DoorPlace, GuestListener } from './egress.ts'
import { DOOR_PORT } from './kit.ts'
import { listenInside } from './lead-inside.ts'
import { room } from './tunnel-stream.ts'

export interface LeadInit {
  /** The door */
  readonly socketPath: string
  /** Takes over a socket that listens inside the guest */
  readonly take: (server: Server) => Promise<void>
}

/** @returns what ends it, where that is not done by `take`. @throws MeshError E_EGRESS */
export async function leadInto(place: DoorPlace, { socketPath, take }: LeadInit): Promise<{ close(): unknown }> {
  switch (place.kind) {
    case 'namespace':
      await take(await listenInside(place.pid, DOOR_PORT))
      return { close: () => undefined }
    case 'guest':
      return place.guest.listen(DOOR_PORT, (connection) => void carry(connection, socketPath))
  }
}

/** Both ways between a connection inside the guest and the door. */
async function carry(
  connection: Parameters<Parameters<GuestListener['listen']>[1]>[0],
  socketPath: string,
): Promise<void> {
  const socket = connect({ path: socketPath, allowHalfOpen: true })
  socket.on('error', () => connection.close())
  const inward = async () => {
    for await (const chunk of socket.iterator({ destroyOnReturn: false })) await connection.write(chunk as Uint8Array)
    connection.end()
  }
  const outward = async () => {
    for await (const chunk of connection.readable) {
      if (!socket.write(chunk)) await room(socket)
    }
    socket.end()
  }
  try {
    await Promise.all([inward(), outward()])
  } catch {
    connection.close()
  } finally {
    socket.destroySoon()
  }
}
