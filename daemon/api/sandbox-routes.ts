/** The rows of sandboxes and images. Names and places are the desk's; the rows say who may call and what fits. */
import type { SandboxRoutes } from '../../protocol/api-sandboxes.ts'
import { MeshError } from '../../protocol/errors.ts'
import type { RouteTable } from './route.ts'
import * as shape from './sandbox-schemas.ts'
import type { ApiServices } from './services.ts'

type SandboxNames = Extract<keyof SandboxRoutes, `${string}/sandboxes${string}` | `${string}/images${string}`>

const SMALL = 256 << 10
const removed = { removed: true } as const

export function sandboxRoutes({ sandboxes }: Pick<ApiServices, 'sandboxes'>): Pick<RouteTable, SandboxNames> {
  return {
    'POST /v0/sandboxes': {
      access: 'run',
      summary: 'Makes a sandbox on the nearest able node and answers once it runs',
      body: shape.sandboxRequest,
      maxBodyBytes: SMALL,
      reply: shape.sandboxViewReply,
      handle: async ({ body, caller, signal }) => {
        const key = caller.key === undefined ? undefined : `${caller.subject}\0${caller.key}`
        return (await sandboxes()).create(body, key, signal)
      },
    },
    'GET /v0/sandboxes': {
      access: 'read',
      summary: 'Sandboxes of this node, wherever they are',
      reply: shape.sandboxesReply,
      handle: async () => ({ sandboxes: (await sandboxes()).list() }),
    },
    'GET /v0/sandboxes/:id': {
      access: 'read',
      summary: 'One sandbox, asked of its node',
      reply: shape.sandboxViewReply,
      handle: async ({ params, signal }) => (await sandboxes()).view(params.id, signal),
    },
    'POST /v0/sandboxes/:id/sleep': {
      access: 'run',
      summary: 'Frees what it holds until it is used again',
      body: shape.sleepRequest,
      reply: shape.sandboxViewReply,
      handle: async ({ params, body, signal }) => (await sandboxes()).sleep(params.id, body.depth, signal),
    },
    'POST /v0/sandboxes/:id/wake': {
      access: 'run',
      summary: 'Wakes it; use does that too',
      body: shape.nothing,
      reply: shape.sandboxViewReply,
      handle: async ({ params, signal }) => (await sandboxes()).wake(params.id, signal),
    },
    'POST /v0/sandboxes/:id/remove': {
      access: 'run',
      summary: 'Removes it with its files and snapshots',
      body: shape.nothing,
      reply: shape.removedReply,
      handle: async ({ params, signal }) => {
        await (await sandboxes()).remove(params.id, signal)
        return removed
      },
    },
    'POST /v0/sandboxes/:id/snapshot': {
      access: 'run',
      summary: 'Keeps its files as they are now under a name',
      body: shape.snapshotRequest,
      reply: shape.snapshotReply,
      handle: async ({ params, body, signal }) => (await sandboxes()).snapshot(params.id, body.name, signal),
    },
    'POST /v0/sandboxes/:id/snapshots/:name/remove': {
      access: 'run',
      summary: 'Removes a snapshot',
      body: shape.nothing,
      reply: shape.removedReply,
      handle: async ({ params, signal }) => {
        await (await sandboxes()).removeSnapshot(params.id, params.name, signal)
        return removed
      },
    },
    'POST /v0/sandboxes/:id/restore': {
      access: 'run',
      summary: 'Puts its files back to a snapshot; its processes end',
      body: shape.restoreRequest,
      reply: shape.sandboxViewReply,
      handle: async ({ params, body, signal }) => (await sandboxes()).restore(params.id, body.snapshot, signal),
    },
    'POST /v0/sandboxes/:id/fork': {
      access: 'run',
      summary: 'Makes a second one with a copy of its files',
      body: shape.forkRequest,
      reply: shape.sandboxViewReply,
      handle: async ({ params, body, signal }) => (await sandboxes()).fork(params.id, body, signal),
    },
    'POST /v0/sandboxes/:id/move': {
      access: 'run',
      summary: 'Moves it to another node with its files; its id stays',
      body: shape.moveRequest,
      reply: shape.sandboxViewReply,
      handle: async ({ params, body, signal }) => (await sandboxes()).move(params.id, body.to, signal),
    },
    'POST /v0/sandboxes/:id/files': {
      access: 'run',
      summary: 'Lists, looks at, makes, moves and removes files; content goes by the duplex',
      body: shape.fileRequest,
      reply: shape.filesReply,
      handle: async ({ params, body, signal }) => (await sandboxes()).files(params.id, body, signal),
    },
    'GET /v0/sandboxes/:id/processes': {
      access: 'read',
      summary: 'Background processes',
      reply: shape.processesReply,
      handle: async ({ params, signal }) => ({ processes: await (await sandboxes()).processes(params.id, signal) }),
    },
    'POST /v0/sandboxes/:id/processes/:process/signal': {
      access: 'run',
      summary: 'Sends a signal to a background process',
      body: shape.signalRequest,
      reply: shape.sentReply,
      handle: async ({ params, body, signal }) => {
        const process = /^\d{1,10}$/.test(params.process) ? Number(params.process) : undefined
        if (process === undefined)
          throw new MeshError('E_BAD_REQUEST', 'Cannot send a signal: the id of a process is a number')
        await (await sandboxes()).signal(params.id, process, body.signal, signal)
        return { sent: true } as const
      },
    },
    'GET /v0/images': {
      access: 'read',
      summary: 'Images that sandboxes are made from, here or on another node',
      query: shape.imagesQuery,
      reply: shape.imagesReply,
      handle: async ({ query, signal }) => ({ images: await (await sandboxes()).images(query.on, signal) }),
    },
  }
}
