/**
 * What a guest finds at `artifacts.manyhands`: the one artifact its sandbox was given, as a Git server over plain HTTP. A connection comes here only by the door
 * of that sandbox, so whose it is needs no proof; the credential is put in here, in place of whatever the guest sent.
 *
 *   /<name or id>.git/<what Git and Git LFS ask for>
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { ARTIFACTS_HOST } from '../../protocol/egress/host.ts'
import { toMeshError } from '../../protocol/errors.ts'
import type { ArtifactGrant, ArtifactGrants, ArtifactSource } from './artifact-grants.ts'

export interface ArtifactDoorOptions {
  readonly grants: ArtifactGrants
  readonly source: ArtifactSource
}

const HEADER_BYTES = 32 << 10
const PATH = /^\/([A-Za-z0-9][A-Za-z0-9._-]{0,99})\.git\/([a-z0-9/-]{1,120}(?:\?[a-z=-]{1,64})?)$/

export class ArtifactDoor {
  readonly #options: ArtifactDoorOptions
  readonly #server: Server
  readonly #owners = new Map<Socket, string>()
  readonly #closing = new AbortController()

  constructor(options: ArtifactDoorOptions) {
    this.#options = options
    // It never listens: connections are handed to it
    this.#server = createServer(
      { maxHeaderSize: HEADER_BYTES, requestTimeout: 0, noDelay: true },
      (request, response) => this.#serve(request, response),
    )
  }

  /** @param sandbox whose door the connection came by */
  enter(sandbox: string, connection: Socket): void {
    this.#owners.set(connection, sandbox)
    connection.on('error', () => undefined).once('close', () => this.#owners.delete(connection))
    this.#server.emit('connection', connection)
    // It was paused when what it is for was read from it
    setImmediate(() => connection.resume())
  }

  close(): void {
    this.#closing.abort()
    for (const connection of this.#owners.keys()) connection.destroy()
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    response.on('error', () => undefined)
    this.#answer(request, response).catch((error: unknown) => {
      const { message } = toMeshError(error)
      refuse(response, 503, message)
    })
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { grants, source } = this.#options
    const sandbox = this.#owners.get(request.socket)
    const grant = sandbox === undefined ? undefined : grants.find(sandbox)
    const rest = grant === undefined ? undefined : asked(request.url ?? '', grant)
    if (sandbox === undefined || grant === undefined || rest === undefined)
      return refuse(response, 404, 'there is no such artifact for this sandbox')
    const serve = await source.git()
    const way = { authorization: `Bearer ${await grants.secret(sandbox)}`, repositories: `http://${ARTIFACTS_HOST}/` }
    request.url = `/git/${grant.artifact}.git/${rest}`
    await serve(request, response, this.#closing.signal, way)
  }
}

/** What follows the artifact's own path; undefined: the path is not one of the artifact that was given. */
function asked(url: string, { artifact, name }: ArtifactGrant): string | undefined {
  const [, called, rest] = PATH.exec(url) ?? []
  return called === name || called === artifact ? rest : undefined
}

function refuse(response: ServerResponse, status: number, why: string): void {
  if (response.headersSent || response.destroyed) return void response.destroy()
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', connection: 'close' })
  response.end(`manyhands: ${why}\n`)
}
