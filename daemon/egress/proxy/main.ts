/**
 * The proxy process: the only one that untrusted code's bytes and credentials meet in. Started by the daemon with an empty environment and one IPC channel; it
 * ends when the channel does.
 */
import { readFileSync } from 'node:fs'
import { Server } from 'node:net'
import { createSecureContext, rootCertificates, type SecureContext } from 'node:tls'
import { AuditSender } from './audit-sender.ts'
import { createLookup } from './dial.ts'
import { Door } from './door.ts'
import type { DoorContext } from './door-view.ts'
import { EGRESS_LIMITS } from '../../../protocol/egress/limits.ts'
import { type FromProxy, type HandlerRequest, type HandlerResponse, type ProxySettings, ToProxy } from './messages.ts'

/** Where hosts keep the certificates they trust, an operator's own among them. */
const HOST_BUNDLES = ['/etc/ssl/certs/ca-certificates.crt', '/etc/pki/tls/certs/ca-bundle.crt', '/etc/ssl/cert.pem']

class ProxyProcess {
  readonly #doors = new Map<string, Door>()
  readonly #room = { used: 0 }
  readonly #calls = new Map<number, (response: HandlerResponse | undefined) => void>()
  readonly #audit = new AuditSender((message, sent) => this.#send(message, sent))
  #context: DoorContext | undefined
  #lastCall = 0

  async receive(message: ToProxy, handle: unknown): Promise<void> {
    if (message.type === 'handled') {
      this.#calls.get(message.call)?.(message.response)
      return
    }
    try {
      const caPem = await this.#perform(message, handle)
      this.#send({ type: 'done', id: message.id, ...(caPem === undefined ? {} : { caPem }) })
    } catch (error) {
      this.#send({ type: 'failed', id: message.id, message: error instanceof Error ? error.message : 'failed' })
    }
  }

  async #perform(message: Exclude<ToProxy, { type: 'handled' }>, handle: unknown): Promise<string | undefined> {
    switch (message.type) {
      case 'start':
        this.#context = this.#contextFrom(message.settings)
        return undefined
      case 'open':
        return this.#open(message)
      case 'update':
        this.#doors.get(message.door)?.update(message.rules)
        return undefined
      case 'close':
        this.#doors.get(message.door)?.close()
        this.#doors.delete(message.door)
        return undefined
      case 'inside': {
        const door = this.#doors.get(message.door)
        if (!(handle instanceof Server)) throw new Error('no listening socket came')
        if (door === undefined) handle.close()
        else door.acceptInside(handle)
        return undefined
      }
    }
  }

  async #open({ settings, rules }: Extract<ToProxy, { type: 'open' }>): Promise<string> {
    if (this.#context === undefined) throw new Error('not started')
    this.#doors.get(settings.door)?.close()
    const door = new Door(settings, rules, this.#context)
    this.#doors.set(settings.door, door)
    try {
      await door.listen()
    } catch (error) {
      door.close()
      this.#doors.delete(settings.door)
      throw error
    }
    return door.authority.certificatePem
  }

  #contextFrom({ dnsServers, trustedCas = [], uplinkPath }: ProxySettings): DoorContext {
    let secure: SecureContext | undefined
    return {
      lookup: createLookup(dnsServers),
      uplinkPath,
      upstreamTls: () =>
        (secure ??= createSecureContext({ ca: [...rootCertificates, ...hostBundle(), ...trustedCas] })),
      audit: this.#audit.add,
      handle: (request) => this.#handle(request),
      room: this.#room,
    }
  }

  #handle(request: HandlerRequest): Promise<HandlerResponse | undefined> {
    if (this.#calls.size >= EGRESS_LIMITS.handlerCalls) return Promise.resolve(undefined)
    const call = ++this.#lastCall
    return new Promise((resolve) => {
      const finish = (response: HandlerResponse | undefined) => {
        clearTimeout(timer)
        this.#calls.delete(call)
        resolve(response)
      }
      const timer = setTimeout(() => finish(undefined), EGRESS_LIMITS.handlerMs)
      this.#calls.set(call, finish)
      this.#send({ type: 'handle', call, request })
    })
  }

  #send(message: FromProxy, sent: () => void = () => undefined): void {
    process.send?.(message, undefined, undefined, () => sent())
  }
}

function hostBundle(): string[] {
  for (const path of HOST_BUNDLES) {
    try {
      return [readFileSync(path, 'utf8')]
    } catch {
      // the next one
    }
  }
  return []
}

function main(): void {
  const proxy = new ProxyProcess()
  process.on('message', (message: unknown, handle: unknown) => void proxy.receive(ToProxy.parse(message), handle))
  process.on('disconnect', () => process.exit(0))
  // Whoever signals the group means the daemon, which ends this process itself
  process.on('SIGINT', () => undefined)
  process.on('SIGTERM', () => undefined)
  process.send?.({ type: 'ready' } satisfies FromProxy)
}

main()
