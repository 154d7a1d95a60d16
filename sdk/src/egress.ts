/** The door to the outside for sandboxes and isolates: rules, secrets, private services, and the log of every decision. */
import type {
  EgressEvent,
  KeptRule,
  PolicyAnswer,
  PolicyQuestion,
  PolicyRule,
  PolicyRuleInput,
  SecretView,
  ServiceView,
} from '../../protocol/api.ts'
import type { CallOptions } from './call-options.ts'
import type { Client } from './client.ts'
import { type EventOptions, eventStream, lasting } from './event-stream.ts'
import { egressEvent } from './sandbox-replies.ts'

/** `mesh.secrets`: credentials of this node, encrypted at rest. A value is never given out again; the proxy alone uses it. */
export class Secrets {
  readonly #client: Client

  constructor(client: Client) {
    this.#client = client
  }

  async list(options: CallOptions = {}): Promise<readonly SecretView[]> {
    return (await this.#client.call('GET /v0/secrets', options)).secrets
  }

  /** Replaces one of that name. Admins only. */
  set(name: string, value: string, options: CallOptions = {}): Promise<SecretView> {
    return this.#client.call('POST /v0/secrets', { body: { name, value }, ...options })
  }

  /** Admins only. @throws ManyhandsError E_NOT_FOUND */
  async remove(name: string, options: CallOptions = {}): Promise<void> {
    await this.#client.call('POST /v0/secrets/:name/remove', { params: { name }, body: {}, ...options })
  }
}

/** `mesh.policy`: without a matching allow nothing passes, and a matching deny always wins. Changes apply to open connections at once. */
export class Policy {
  readonly #client: Client

  constructor(client: Client) {
    this.#client = client
  }

  async list(options: CallOptions = {}): Promise<readonly PolicyRule[]> {
    return (await this.#client.call('GET /v0/policy', options)).rules
  }

  /** Admins only. `missing` of the answer is what the rule names and the node does not have. */
  allow(rule: Omit<PolicyRuleInput, 'effect'>, options: CallOptions = {}): Promise<KeptRule> {
    return this.put({ ...rule, effect: 'allow' }, options)
  }

  /** Admins only. */
  deny(rule: Omit<PolicyRuleInput, 'effect'>, options: CallOptions = {}): Promise<KeptRule> {
    return this.put({ ...rule, effect: 'deny' }, options)
  }

  /** Adds a rule or, with the id of one, replaces it. Admins only. */
  put(rule: PolicyRuleInput & { readonly id?: string }, options: CallOptions = {}): Promise<KeptRule> {
    return this.#client.call('POST /v0/policy', { body: rule, ...options })
  }

  /** Admins only. @throws ManyhandsError E_NOT_FOUND */
  async remove(id: string, options: CallOptions = {}): Promise<void> {
    await this.#client.call('POST /v0/policy/:id/remove', { params: { id }, body: {}, ...options })
  }

  /** What would happen to a request, and why, without making it. */
  explain(question: PolicyQuestion, options: CallOptions = {}): Promise<PolicyAnswer> {
    return this.#client.call('POST /v0/policy/explain', { body: question, ...options })
  }
}

/** `mesh.services`: what this node exposes of its own network, each to those named and to nobody else. */
export class Services {
  readonly #client: Client

  constructor(client: Client) {
    this.#client = client
  }

  async list(options: CallOptions = {}): Promise<readonly ServiceView[]> {
    return (await this.#client.call('GET /v0/services', options)).services
  }

  /** Replaces one of that name. Admins only. */
  expose(service: ServiceView, options: CallOptions = {}): Promise<ServiceView> {
    return this.#client.call('POST /v0/services', { body: service, ...options })
  }

  /** Its connections end. Admins only. @throws ManyhandsError E_NOT_FOUND */
  async remove(name: string, options: CallOptions = {}): Promise<void> {
    await this.#client.call('POST /v0/services/:name/remove', { params: { name }, body: {}, ...options })
  }
}

/** `mesh.egress` */
export class Egress {
  readonly #client: Client

  constructor(client: Client) {
    this.#client = client
  }

  /** Decisions that the daemon remembers, oldest first. */
  async recent(options: CallOptions = {}): Promise<readonly EgressEvent[]> {
    return (await this.#client.call('GET /v0/egress/recent', options)).events
  }

  /** What the daemon remembers of past decisions, then each as it is made; leave the loop or abort to end it. */
  log(options: EventOptions = {}): AsyncGenerator<EgressEvent> {
    return eventStream(this.#client, '/v0/egress/log', egressEvent, lasting(options))
  }
}
