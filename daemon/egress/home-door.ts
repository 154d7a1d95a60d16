/** The end of a lent door where the guest is: connections from it go, byte for byte, through the mesh to the node whose work it is. No rule or secret is here. */
import { createServer, type Server, type Socket } from 'node:net'
import { rmSync } from 'node:fs'
import * as z from 'zod'
import { EGRESS_LIMITS } from '../../protocol/egress/limits.ts'
import { MeshError } from '../../protocol/errors.ts'
import type { MeshNet } from '../net/mesh-net.ts'
import type { DoorKit, DoorPlace, DoorTicket, OpenDoor } from './egress.ts'
import { leadInto } from './lead.ts'
import { joinTunnel, openTunnel } from './tunnel-stream.ts'

const Ticket = z.object({
  id: z.string().min(1).max(64),
  kit: z.object({
    env: z.record(z.string().regex(/^[A-Za-z_]\w{0,63}$/), z.string().max(4096)),
    files: z
      .array(
        z.object({
          path: z.string().startsWith('/').max(256),
          content: z.string().max(2 << 20),
          mode: z.number().int().min(0).max(0o777),
        }),
      )
      .max(16),
    caPem: z.string().max(16 << 10),
    placeholders: z.record(z.string().max(64), z.string().max(256)),
  }),
})

/** @throws MeshError E_BAD_REQUEST when it is no ticket */
export function checkedTicket(ticket: unknown): DoorTicket {
  const parsed = Ticket.safeParse(ticket)
  if (!parsed.success) throw new MeshError('E_BAD_REQUEST', 'The ticket of the lent door is not valid')
  return parsed.data
}

export class HomeDoor implements OpenDoor {
  readonly subject: OpenDoor['subject']
  readonly socketPath: string
  readonly env: DoorKit['env']
  readonly files: DoorKit['files']
  readonly caPem: string
  readonly placeholders: DoorKit['placeholders']
  readonly #net: MeshNet
  readonly #peer: string
  readonly #ticket: string
  readonly #abort = new AbortController()
  readonly #onClose: () => void
  #own: Server | undefined
  #led: { close(): unknown } | undefined
  #open = 0

  constructor(net: MeshNet, peer: string, { id, kit }: DoorTicket, socketPath: string, onClose: () => void) {
    this.#net = net
    this.#peer = peer
    this.#ticket = id
    this.#onClose = onClose
    this.subject = { node: peer }
    this.socketPath = socketPath
    this.env = kit.env
    this.files = kit.files
    this.caPem = kit.caPem
    this.placeholders = kit.placeholders
  }

  async listen(): Promise<void> {
    rmSync(this.socketPath, { force: true })
    const server = createServer({ allowHalfOpen: true })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(this.socketPath, resolve)
    })
    this.#own = server
    this.#accept(server)
  }

  async lead(place: DoorPlace): Promise<void> {
    this.#leave()
    const taken = await leadInto(place, {
      socketPath: this.socketPath,
      take: async (server) => {
        this.#accept(server)
        this.#led = server
      },
    })
    this.#led ??= taken
  }

  /** The guest may have been started again: the place it was led to is gone. */
  #leave(): void {
    this.#led?.close()
    this.#led = undefined
  }

  async close(): Promise<void> {
    this.#abort.abort()
    this.#leave()
    this.#own?.close()
    this.#onClose()
  }

  #accept(server: Server): void {
    server.on('error', () => undefined)
    server.on('connection', (socket) => void this.#carry(socket))
  }

  async #carry(socket: Socket): Promise<void> {
    socket.on('error', () => undefined)
    if (this.#abort.signal.aborted || this.#open >= EGRESS_LIMITS.tunnels) {
      socket.destroy()
      return
    }
    this.#open += 1
    try {
      const opened = await openTunnel(this.#net, this.#peer, { kind: 'door', ticket: this.#ticket })
      await joinTunnel(opened, socket, this.#abort.signal)
    } catch {
      const body = 'manyhands: the door to the outside leads to a node that does not answer or has closed it\n'
      if (socket.writable)
        socket.end(`HTTP/1.1 502 Bad Gateway\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`)
      socket.destroySoon()
    } finally {
      this.#open -= 1
    }
  }
}
