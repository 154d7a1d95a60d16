/** The rows of the door to the outside: rules, secrets, private services and the log of decisions. A secret goes in and never comes out. */
import type {
  EgressEvent,
  KeptRule,
  MissingPart,
  PolicyRuleInput,
  SandboxRoutes,
} from '../../protocol/api-sandboxes.ts'
import { MeshError } from '../../protocol/errors.ts'
import type { Target } from '../../protocol/egress/evaluate.ts'
import { canonicalHost } from '../../protocol/egress/host.ts'
import type { AuditEntry, AuditLog } from '../egress/egress.ts'
import { check } from './check.ts'
import { type EventIds, eventIds } from './event-ids.ts'
import type { EventSource, RouteTable } from './route.ts'
import * as shape from './sandbox-schemas.ts'
import type { ApiServices } from './services.ts'

type EgressNames = Exclude<keyof SandboxRoutes, `${string}/sandboxes${string}` | `${string}/images${string}`>

const SMALL = 64 << 10
const RECENT = 1_000
const removed = { removed: true } as const

export function egressRoutes({ egress }: Pick<ApiServices, 'egress'>): Pick<RouteTable, EgressNames> {
  const ids = eventIds()
  return {
    'GET /v0/secrets': {
      access: 'read',
      summary: 'Names of secrets',
      reply: shape.secretsReply,
      handle: async () => ({ secrets: (await egress()).secrets.list() }),
    },
    'POST /v0/secrets': {
      access: 'admin',
      summary: 'Keeps a secret, encrypted; it is never given out again',
      body: shape.secretRequest,
      maxBodyBytes: SMALL,
      reply: shape.secretView,
      handle: async ({ body }) => {
        const { secrets } = await egress()
        await secrets.set(body.name, body.value)
        const kept = secrets.list().find(({ name }) => name === body.name)
        if (kept) return kept
        throw new MeshError('E_CONFLICT', `The secret "${body.name}" was removed meanwhile`)
      },
    },
    'POST /v0/secrets/:name/remove': {
      access: 'admin',
      summary: 'Forgets a secret',
      body: shape.nothing,
      maxBodyBytes: SMALL,
      reply: shape.removedReply,
      handle: async ({ params }) => wasThere(await (await egress()).secrets.remove(params.name), 'secret', params.name),
    },
    'GET /v0/policy': {
      access: 'read',
      summary: 'Rules of the door',
      reply: shape.policyReply,
      handle: async () => ({
        rules: (await egress()).policy.list().map((rule) => check(shape.policyRule, plain(rule), 'a rule')),
      }),
    },
    'POST /v0/policy': {
      access: 'admin',
      summary: 'Adds a rule, or replaces the one with its id; in force for open connections too',
      body: shape.policyRequest,
      maxBodyBytes: SMALL,
      reply: shape.keptRuleReply,
      handle: async ({ body }) => {
        const door = await egress()
        const rule = await door.policy.put(keptForm(body))
        return check(shape.keptRuleReply, plain(withMissing(rule, await door.missing(rule))), 'a rule')
      },
    },
    'POST /v0/policy/:id/remove': {
      access: 'admin',
      summary: 'Removes a rule',
      body: shape.nothing,
      maxBodyBytes: SMALL,
      reply: shape.removedReply,
      handle: async ({ params }) => wasThere(await (await egress()).policy.remove(params.id), 'rule', params.id),
    },
    'POST /v0/policy/explain': {
      access: 'read',
      summary: 'What would happen to a request, and why',
      body: shape.policyQuestion,
      maxBodyBytes: SMALL,
      reply: shape.policyAnswer,
      handle: async ({ body }) => {
        const door = await egress()
        const answer = door.policy.explain({ ...body.subject }, targetOf(body.url, body.method))
        const missing = answer.rule === undefined ? [] : await door.missing(answer.rule)
        return check(shape.policyAnswer, plain(withMissing(answer, missing)), 'an explanation')
      },
    },
    'GET /v0/services': {
      access: 'read',
      summary: 'What this node exposes of its own network, and to whom',
      reply: shape.servicesReply,
      handle: async () => ({ services: (await egress()).services.list() }),
    },
    'POST /v0/services': {
      access: 'admin',
      summary: 'Exposes a service to those named, and to nobody else',
      body: shape.serviceRequest,
      maxBodyBytes: SMALL,
      reply: shape.serviceView,
      handle: async ({ body }) => (await egress()).services.expose(body),
    },
    'POST /v0/services/:name/remove': {
      access: 'admin',
      summary: 'Exposes it no more; its connections end',
      body: shape.nothing,
      maxBodyBytes: SMALL,
      reply: shape.removedReply,
      handle: async ({ params }) =>
        wasThere(await (await egress()).services.remove(params.name), 'service', params.name),
    },
    'GET /v0/egress/recent': {
      access: 'read',
      summary: 'Decisions of the door that are remembered, oldest first',
      reply: shape.egressReply,
      handle: async () => ({ events: (await egress()).audit.recent(RECENT).map(eventOf) }),
    },
    'GET /v0/egress/log': {
      access: 'read',
      kind: 'events',
      summary: 'Decisions of the door: those remembered, then each as it is made; Last-Event-ID resumes',
      reply: shape.egressEvent,
      handle: async ({ lastEventId }) => auditEvents((await egress()).audit, ids, lastEventId),
    },
  }
}

function withMissing<T extends object>(about: T, missing: readonly MissingPart[]): T & Pick<KeptRule, 'missing'> {
  return missing.length === 0 ? about : { ...about, missing }
}

/** Without the fields that are undefined: the keeper's types know them, JSON does not. */
function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value))
}

/** As its keeper takes it. @throws MeshError E_BAD_REQUEST in the words of the rule's own schema */
function keptForm({ id, ...fields }: PolicyRuleInput & { readonly id?: string }) {
  const { id: _, ...rule } = check(shape.keptRule, { ...fields, id: id ?? 'unnamed' }, 'the rule')
  return id === undefined ? rule : { ...rule, id }
}

function wasThere(there: boolean, what: string, name: string): typeof removed {
  if (there) return removed
  throw new MeshError('E_NOT_FOUND', `Cannot remove the ${what}: there is none called "${name}"`, {
    hint: `See those there are with: manyhands ${what === 'rule' ? 'policy' : what} ls`,
  })
}

/** @throws MeshError E_BAD_REQUEST */
function targetOf(text: string, method: string | undefined): Target {
  const url = URL.parse(text)
  const scheme = url?.protocol === 'https:' ? 'https' : url?.protocol === 'http:' ? 'http' : undefined
  const host = url && canonicalHost(url.hostname)
  if (!url || !scheme || !host)
    throw new MeshError('E_BAD_REQUEST', 'Cannot explain: an http: or https: URL is wanted', {
      hint: 'e.g. https://api.example.com/v1/items',
    })
  const port = Number(url.port || (scheme === 'https' ? 443 : 80))
  if (method === undefined) return { scheme, host, port }
  return { scheme, host, port, method: method.toUpperCase(), path: url.pathname }
}

function eventOf(entry: AuditEntry): EgressEvent {
  return check(shape.egressEvent, plain(entry), 'a line of the log')
}

function auditEvents(audit: AuditLog, ids: EventIds, lastEventId: string | undefined): EventSource<EgressEvent> {
  const after = ids.numberIn(lastEventId)
  return {
    watch: (listener) => {
      const tell = (entry: AuditEntry): void => listener(ids.of(entry.sequence), eventOf(entry))
      for (const entry of audit.recent(RECENT)) if (entry.sequence > after) tell(entry)
      return audit.on(tell)
    },
    isLast: () => false,
  }
}
