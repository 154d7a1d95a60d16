/** The route table: one row for each route of protocol/api.ts. Who may call, what it takes, what it does: nothing else decides these. */
import type { RouteName, TaskView } from '../../protocol/api.ts'
import { MeshError } from '../../protocol/errors.ts'
import type { Tasks } from '../tasks/tasks.ts'
import { artifactRoutes } from './artifact-routes.ts'
import { egressRoutes } from './egress-routes.ts'
import { type EventIds, eventIds } from './event-ids.ts'
import * as reply from './reply-schemas.ts'
import * as take from './request-schemas.ts'
import type { AnyRow, RouteRow, RouteTable } from './route.ts'
import { sandboxRoutes } from './sandbox-routes.ts'
import type { ApiServices } from './services.ts'
import type { Tokens } from './tokens.ts'

const SMALL_BODY_BYTES = 64 << 10

export interface RouteParts {
  readonly services: ApiServices
  readonly tokens: Tokens
  readonly version: string
  /** The OpenAPI document of this table */
  openApi(): unknown
}

export function createRoutes({ services, tokens, version, openApi }: RouteParts): RouteTable {
  const { tasks } = services
  const ids = eventIds()
  const known = (id: string): TaskView => {
    const task = tasks.get(id)
    if (task === undefined)
      throw new MeshError('E_NOT_FOUND', `Cannot find the task: there is none with id "${id}"`, {
        hint: 'See those of this node with: manyhands task ls; a task is known to the node that took it, as long as it is kept',
      })
    return task
  }
  return {
    ...artifactRoutes(services.artifacts),
    ...sandboxRoutes(services),
    ...egressRoutes(services),
    'GET /v0/challenge': {
      access: 'open',
      summary: 'Proves that the daemon holds the token, before the token is sent',
      query: take.challengeQuery,
      reply: reply.challengeView,
      handle({ query }) {
        const proof = tokens.prove(query.nonce, query.token)
        if (proof !== undefined) return { proof, version }
        throw new MeshError('E_UNAUTHENTICATED', 'Cannot answer the challenge', {
          hint: 'Check that the token is one of this node',
        })
      },
    },
    'GET /v0/status': {
      access: 'read',
      summary: 'This node at a glance',
      reply: reply.statusView,
      handle: () => services.status(),
    },
    'GET /v0/peers': {
      access: 'read',
      summary: 'The other members of the mesh',
      reply: reply.peersReply,
      handle: async () => ({ peers: await services.peers() }),
    },
    'GET /v0/capabilities': {
      access: 'read',
      summary: 'What the mesh offers, and who offers it',
      query: take.capabilitiesQuery,
      reply: reply.capabilitiesReply,
      handle: async ({ query }) => ({ capabilities: await services.capabilities(query.label) }),
    },
    'GET /v0/doctor': {
      access: 'read',
      summary: 'Checks of this node, each with what to do',
      reply: reply.doctorView,
      handle: () => services.doctor(),
    },
    'GET /v0/config': {
      access: 'read',
      summary: 'The configuration in force and where each value came from',
      reply: reply.configView,
      handle: () => services.config(),
    },
    'GET /v0/members': {
      access: 'read',
      summary: 'The member list',
      reply: reply.membersView,
      handle: () => services.members(),
    },
    'POST /v0/invites': {
      access: 'admin',
      summary: 'Makes a single-use invite',
      body: take.inviteRequest,
      maxBodyBytes: SMALL_BODY_BYTES,
      reply: reply.inviteView,
      handle: ({ body }) => services.invite(body),
    },
    'POST /v0/members/:id/revoke': {
      access: 'admin',
      summary: 'Puts a node out of the mesh',
      body: take.nothing,
      maxBodyBytes: SMALL_BODY_BYTES,
      reply: reply.membersView,
      handle: ({ params }) => services.revoke(params.id),
    },
    'GET /v0/events': {
      access: 'read',
      kind: 'events',
      summary: 'Events of the mesh as they happen; Last-Event-ID resumes',
      reply: reply.meshEvent,
      handle: ({ lastEventId }) => ({
        watch: (listener) => services.events.watch(lastEventId, listener),
        isLast: () => false,
      }),
    },
    'POST /v0/tasks': {
      access: 'run',
      summary: 'Runs a program on the nearest able node and answers with the ended task (detach: at once)',
      body: take.runRequest,
      reply: reply.taskView,
      handle: async ({ body, caller, signal }) => {
        const task = await tasks.run(body, caller, { isPatient: body.detach !== true })
        return body.detach === true ? task : tasks.ended(task.id, signal)
      },
    },
    'POST /v0/maps': {
      access: 'run',
      summary: 'Runs a program over many inputs on all able nodes',
      body: take.mapRequest,
      reply: reply.taskView,
      handle: async ({ body, caller, signal }) => {
        const task = await tasks.map(body, caller)
        return body.detach === true ? task : tasks.ended(task.id, signal)
      },
    },
    'GET /v0/tasks': {
      access: 'read',
      summary: 'Tasks, newest first, in pages',
      query: take.tasksQuery,
      reply: reply.tasksReply,
      handle: ({ query }) => tasks.list({ ...query, limit: query.limit ?? 50 }),
    },
    'GET /v0/tasks/:id': {
      access: 'read',
      summary: 'One task',
      reply: reply.taskView,
      handle: ({ params }) => known(params.id),
    },
    'GET /v0/tasks/:id/results': {
      access: 'read',
      summary: 'Results of a map in the order of its inputs',
      query: take.resultsQuery,
      reply: reply.mapResults,
      handle: ({ params, query }) => tasks.results(known(params.id).id, query.from ?? 0, query.limit ?? 1_000),
    },
    'GET /v0/tasks/:id/events': {
      access: 'read',
      kind: 'events',
      summary: 'Events of one task from its beginning; Last-Event-ID resumes',
      reply: reply.taskEvent,
      handle: ({ params, lastEventId }) => ({
        watch: taskEvents(tasks, known(params.id).id, ids, lastEventId),
        isLast: (event) => event.type === 'end',
        // An end that the disk does not take is told to nobody, and whoever waits for it must not wait for the disk
        broken: () => tasks.ended(params.id),
      }),
    },
    'GET /v0/tasks/:id/explain': {
      access: 'read',
      summary: 'Why a task ran where it did',
      reply: reply.explanation,
      handle: ({ params }) => tasks.explain(known(params.id).id),
    },
    'GET /v0/tasks/:id/receipts': {
      access: 'read',
      summary: 'Signed receipts of a task',
      reply: reply.receiptsView,
      handle: async ({ params }) => ({ task: params.id, receipts: await tasks.receipts(known(params.id).id) }),
    },
    'POST /v0/tasks/:id/cancel': {
      access: 'run',
      summary: 'Cancels a task',
      body: take.nothing,
      maxBodyBytes: SMALL_BODY_BYTES,
      reply: reply.taskView,
      handle: ({ params }) => tasks.cancel(known(params.id).id),
    },
    'POST /v0/receipts/verify': {
      access: 'read',
      summary: 'Checks a receipt; needs nothing but the receipt',
      body: take.receiptEnvelope,
      reply: reply.receiptCheck,
      handle: ({ body }) => services.verifyReceipt(body),
    },
    'GET /v0/tokens': {
      access: 'admin',
      summary: 'Named tokens, without their secrets',
      reply: reply.tokensReply,
      handle: () => ({ tokens: tokens.list() }),
    },
    'POST /v0/tokens': {
      access: 'admin',
      summary: 'Makes a named token; it is shown this once',
      body: take.tokenRequest,
      maxBodyBytes: SMALL_BODY_BYTES,
      reply: reply.tokenReply,
      handle: async ({ body }) => ({ token: await tokens.create(body.name, body.access) }),
    },
    'POST /v0/tokens/:name/revoke': {
      access: 'admin',
      summary: 'Makes a named token useless',
      body: take.nothing,
      maxBodyBytes: SMALL_BODY_BYTES,
      reply: reply.tokensReply,
      handle: async ({ params }) => {
        await tokens.revoke(params.name)
        return { tokens: tokens.list() }
      },
    },
    'POST /v0/shutdown': {
      access: 'admin',
      summary: 'Stops the daemon',
      body: take.shutdownRequest,
      maxBodyBytes: SMALL_BODY_BYTES,
      reply: reply.shutdownReply,
      handle: ({ body, after }) => {
        after(() => services.shutdown(body.drainMs))
        return { stopping: true }
      },
    },
    'GET /v0/duplex': {
      access: 'run',
      kind: 'upgrade',
      summary: 'Upgrades to the duplex that carries sessions and runs with host functions',
      reply: reply.anything,
      handle: () => {
        throw new MeshError(
          'E_VERSION',
          'Cannot answer: this route needs "Connection: Upgrade" and "Upgrade: manyhands-duplex-1"',
        )
      },
    },
    'GET /v0/openapi.json': {
      access: 'open',
      summary: 'This document',
      reply: reply.anything,
      handle: () => openApi(),
    },
    'GET /metrics': {
      access: 'read',
      kind: 'text',
      summary: 'Metrics in the Prometheus text format',
      reply: reply.anything,
      handle: () => services.metrics.render(),
    },
  }
}

function taskEvents(tasks: Tasks, id: string, ids: EventIds, lastEventId: string | undefined) {
  const from = ids.numberIn(lastEventId)
  return (listener: (id: string, event: Parameters<Parameters<Tasks['watch']>[2]>[1]) => void): (() => void) =>
    tasks.watch(id, from, (at, event) => listener(ids.of(at), event))
}

/** The rows as a list, for what treats all alike. */
export function listRoutes(table: RouteTable): AnyRow[] {
  return Object.keys(table)
    .filter((name): name is RouteName => Object.hasOwn(table, name))
    .map((name) => anyRow(name, table[name]))
}

function anyRow<R extends RouteName>(name: R, row: RouteRow<R>): AnyRow {
  const [method = '', path = ''] = name.split(' ')
  return {
    name,
    method,
    path,
    access: row.access,
    summary: row.summary,
    query: row.query,
    body: row.body,
    reply: row.reply,
    kind: row.kind ?? 'json',
    maxBodyBytes: row.maxBodyBytes,
    isKeyed: row.isKeyed ?? false,
    // The dispatcher hands over only what the row's own schemas and path have let through: here, and only here, its types are restored
    handle: (request) => row.handle(request as Parameters<typeof row.handle>[0]),
  }
}
