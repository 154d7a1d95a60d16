/** Where the proxy process asks for services and artifacts: it knows rules and guests, the daemon knows the mesh. A unix socket in a private folder, one connection each. */
import { rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import type { EgressSubject } from '../../protocol/egress/rule.ts'
import { isErrorCode } from '../../protocol/errors.ts'
import type { MeshNet } from '../net/mesh-net.ts'
import type { ArtifactsEntry } from './egress.ts'
import { openingFrame, readOpening } from './frame.ts'
import { joinSockets } from './proxy/join-sockets.ts'
import { UplinkRequest } from './proxy/service-dial.ts'
import type { TunnelHost } from './tunnel-host.ts'
import { joinTunnel, openTunnel, TunnelRefused } from './tunnel-stream.ts'

export interface UplinkInit {
  readonly path: string
  readonly net: MeshNet | undefined
  readonly host: TunnelHost
  readonly doorOf: (
    door: string,
  ) => { readonly subject: EgressSubject; readonly artifacts: ArtifactsEntry | undefined } | undefined
  /** Nodes that may have the service, nearest first */
  readonly findService: (name: string) => readonly string[]
}

/** Peers asked for one service, one after the other. */
const MOST_PEERS = 4

export class Uplink {
  readonly #init: UplinkInit
  readonly #server: Server
  readonly #open = new Set<Socket>()

  constructor(init: UplinkInit) {
    this.#init = init
    this.#server = createServer({ allowHalfOpen: true }, (socket) => {
      this.#open.add(socket)
      socket.on('error', () => undefined).once('close', () => this.#open.delete(socket))
      void this.#serve(socket)
    })
  }

  async listen(): Promise<void> {
    rmSync(this.#init.path, { force: true })
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(this.#init.path, resolve)
    })
  }

  async close(): Promise<void> {
    for (const socket of this.#open) socket.destroy()
    if (this.#server.listening) await new Promise((resolve) => this.#server.close(resolve))
  }

  async #serve(socket: Socket): Promise<void> {
    try {
      const request = UplinkRequest.parse(await readOpening(socket))
      await this.#connect(socket, request)
    } catch (error) {
      const { status, reason, message } = refusalOf(error)
      if (socket.writable) socket.end(openingFrame({ status, reason, message }))
      socket.destroySoon()
    }
  }

  async #connect(socket: Socket, request: UplinkRequest): Promise<void> {
    const door = this.#init.doorOf(request.door)
    if (door === undefined) throw new TunnelRefused({ status: 403, reason: 'closed', message: 'the door is closed' })
    if ('service' in request) return this.#connectService(socket, request, door.subject)
    if (door.artifacts === undefined)
      throw new TunnelRefused({ status: 403, reason: 'no-grant', message: 'no artifact was given to this guest' })
    socket.write(openingFrame({ ok: true }))
    door.artifacts(socket)
  }

  async #connectService(
    socket: Socket,
    { service, allowed }: Extract<UplinkRequest, { service: string }>,
    subject: EgressSubject,
  ): Promise<void> {
    const local = await this.#init.host.dialLocal(service, subject)
    if (local !== undefined) {
      socket.write(openingFrame({ ok: true }))
      joinSockets(socket, local.socket, () => undefined)
      return
    }
    if (!allowed)
      throw new TunnelRefused({
        status: 403,
        reason: 'no-rule',
        message: `no rule allows ${service}, and this node does not grant it`,
      })
    const opened = await this.#find(service, subject)
    socket.write(openingFrame({ ok: true }))
    await joinTunnel(opened, socket, new AbortController().signal)
  }

  async #find(name: string, subject: EgressSubject) {
    const { net, findService } = this.#init
    let last: unknown = new TunnelRefused({
      status: 502,
      reason: 'unknown-host',
      message: `no node offers the service ${name}`,
    })
    if (net === undefined) throw last
    for (const peer of findService(name).slice(0, MOST_PEERS)) {
      try {
        return await openTunnel(net, peer, { kind: 'service', name, subject })
      } catch (error) {
        last = error
      }
    }
    throw last
  }
}

function refusalOf(error: unknown): { status: number; reason: string; message: string } {
  if (error instanceof TunnelRefused) return { status: error.status, reason: error.reason, message: error.message }
  const code = error instanceof Error && 'code' in error && isErrorCode(error.code) ? ` (${error.code})` : ''
  return { status: 502, reason: 'unreachable', message: `the service cannot be reached${code}` }
}
