/** Serves a fetch: what is asked is understood and checked here; native Git, behind walls, makes the pack from what is left of the request. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { MeshError } from '../../../protocol/errors.ts'
import type { ArtifactView } from '../store/artifact-store.ts'
import type { DoorStore } from './door-store.ts'
import { spawnGit } from '../store/git-process.ts'
import { type ProtocolVersion, protocolVersion, refListing } from './advertisement.ts'
import { wholeBody } from './body.ts'
import { type FetchRequest, readFetchRequest } from './fetch-request.ts'
import { write } from './flow.ts'
import { type DoorLimits, FIXED } from './limits.ts'
import { packet } from '../../../protocol/artifact/pkt-line.ts'
import { checkWants } from './reachable.ts'
import { type RefShow, SYSTEM_PREFIX } from './shown-refs.ts'
import type { Slots } from './slots.ts'
import { keepUntouched } from './untouched.ts'

export interface UploadParts {
  readonly store: DoorStore
  readonly refs: RefShow
  readonly slots: Slots
  readonly limits: DoorLimits
}

type Fetch = Extract<FetchRequest, { kind: 'fetch' }>

const RESULT = 'application/x-git-upload-pack-result'
/** Wants were checked before: Git needs not look again, and would refuse the tips it is told to hide */
const CONFIG = {
  'uploadpack.allowFilter': 'true',
  'uploadpack.allowAnySHA1InWant': 'true',
  'transfer.hideRefs': SYSTEM_PREFIX.slice(0, -1),
}

/** @throws MeshError when nothing of the answer was sent; after that the connection is cut */
export async function serveUpload(
  parts: UploadParts,
  view: ArtifactView,
  request: IncomingMessage,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<void> {
  const version = protocolVersion(header(request, 'git-protocol'))
  const body = await wholeBody(request, { ...parts.limits, bytes: FIXED.fetchBytes })
  const asked = readFetchRequest(version, body)
  response.setHeader('content-type', RESULT)
  if (asked.kind === 'nothing') return void response.end()
  if (asked.kind === 'fetch') return serveFetch(parts, view, asked, version, response, signal)
  const system = asked.options.prefixes.some((prefix) => prefix.startsWith(SYSTEM_PREFIX))
  response.end(refListing(await parts.refs.show(view, { system, peel: asked.options.peel }), asked.options))
}

async function serveFetch(
  { store, refs, slots, limits }: UploadParts,
  view: ArtifactView,
  asked: Fetch,
  version: ProtocolVersion,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<void> {
  const release = await slots.take(signal)
  try {
    const shown = store.refs(view.id)
    for (const ref of asked.excluded)
      if (fullName(shown, ref) === undefined)
        throw new MeshError('E_NOT_FOUND', `Cannot serve the fetch: there is no such ref to leave out`)
    const repository = await store.repository(view.id)
    await keepUntouched(repository, view.defaultBranch)
    await checkWants(repository, asked.wants, new Set(shown.values()), signal)
    const input = asked.encode((ref) => refs.physicalName(view, fullName(shown, ref) ?? ref))
    await answer(repository, input, version, limits, response, signal)
  } finally {
    release()
  }
}

/** Clients send a name as their user typed it: "v1" is a tag or a branch, in the order in which Git looks. */
function fullName(shown: ReadonlyMap<string, string>, name: string): string | undefined {
  return [name, `refs/${name}`, `refs/tags/${name}`, `refs/heads/${name}`].find((full) => shown.has(full))
}

async function answer(
  repository: string,
  input: Buffer,
  version: ProtocolVersion,
  { wallMs, stallMs }: DoorLimits,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<void> {
  const child = await spawnGit({
    args: ['upload-pack', '--strict', '--stateless-rpc', repository],
    repository,
    foreign: true,
    config: CONFIG,
    limits: { wallMs, cpuSeconds: Math.ceil(wallMs / 1000) },
    signal,
    ...(version === 2 ? { protocol: 'version=2' } : {}),
  })
  try {
    child.stdin.end(input)
    for await (const chunk of child.stdout) if (Buffer.isBuffer(chunk)) await write(response, chunk, stallMs)
    const end = await child.ended
    // It said what is wrong in its own words before it ended; if it said nothing, somebody must
    if (end.code !== 0 && !response.headersSent)
      throw new MeshError('E_OBJECT', 'Cannot serve the fetch: Git refused it', { cause: new Error(end.stderr) })
    if (end.cut !== undefined) response.destroy()
    else response.end()
  } finally {
    child.kill()
    await child.ended
  }
}

/** An error as Git's clients show it: "fatal: remote error: ...". */
export function refuseUpload(response: ServerResponse, error: MeshError): void {
  response.setHeader('content-type', RESULT)
  response.end(packet(`ERR ${error.message}`))
}

function header(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name]
  return typeof value === 'string' ? value : undefined
}
