/** Connections towards hosts, kept open between the requests of one guest connection. */
import { Agent } from 'node:http'
import type { Duplex } from 'node:stream'

export type Open = () => Promise<Duplex>

/** Different hosts that one guest connection keeps connections to. */
const MOST = 8

/** Opens connections by the function of the request they are opened for; the addresses in there were checked for it. */
class DialingAgent extends Agent {
  readonly #open: Open

  constructor(open: Open) {
    super({ keepAlive: true, maxSockets: 8, maxFreeSockets: 2, timeout: 60_000 })
    this.#open = open
  }

  override createConnection(_options: object, callback?: (error: Error | null, socket: Duplex) => void): undefined {
    // Typed as if a socket came with the error
    void this.#connect(callback as ((error: Error | null, socket?: Duplex) => void) | undefined)
  }

  async #connect(callback: ((error: Error | null, socket?: Duplex) => void) | undefined): Promise<void> {
    let socket: Duplex
    try {
      socket = await this.#open()
    } catch (error) {
      callback?.(error instanceof Error ? error : new Error('not connected'))
      return
    }
    callback?.(null, socket)
  }

  retire(): void {
    this.maxFreeSockets = 0
    for (const socket of Object.values(this.freeSockets).flatMap((sockets) => sockets ?? [])) socket.destroy()
  }
}

export class UpstreamPool {
  readonly #agents = new Map<string, DialingAgent>()

  /** @param key everything that decides where a connection may lead */
  agent(key: string, open: Open): Agent {
    const kept = this.#agents.get(key)
    if (kept !== undefined) return kept
    const [oldest] = this.#agents.keys()
    if (this.#agents.size >= MOST && oldest !== undefined) {
      this.#agents.get(oldest)?.retire()
      this.#agents.delete(oldest)
    }
    const agent = new DialingAgent(open)
    this.#agents.set(key, agent)
    return agent
  }

  /** Idle connections end now, others after their request; new requests dial anew. */
  retire(): void {
    for (const agent of this.#agents.values()) agent.retire()
    this.#agents.clear()
  }

  destroy(): void {
    for (const agent of this.#agents.values()) agent.destroy()
    this.#agents.clear()
  }
}
