/** Where a Docker engine, or one that speaks its API, may be. Pure. */
import { MeshError } from '../../../../protocol/errors.ts'
import type { EngineInfo } from './engine-info.ts'

export interface EndpointSources {
  /** From the configuration: `unix:///path`, `tcp://host:port`, `none`, or empty to look for one */
  readonly configured: string
  readonly env: Readonly<Record<string, string | undefined>>
  readonly uid: number
  readonly home: string
}

export type Endpoint =
  | { readonly kind: 'unix'; readonly path: string }
  | {
      readonly kind: 'tcp'
      readonly host: string
      readonly port: number
      readonly tls: boolean
      readonly certs?: string
    }

export interface Candidate {
  readonly endpoint: Endpoint
  readonly found: EngineInfo['found']
}

/**
 * In the order they are tried. What is named explicitly is the only candidate: another engine than the one asked for is never used instead.
 * @throws MeshError E_CONFIG for a name that is no endpoint
 */
export function engineCandidates({ configured, env, uid, home }: EndpointSources): readonly Candidate[] {
  if (configured === 'none') return []
  if (configured !== '') return [{ endpoint: endpoint(configured, env), found: 'config' }]
  const host = env['DOCKER_HOST']
  if (host !== undefined && host !== '') return [{ endpoint: endpoint(host, env), found: 'environment' }]
  return usualSockets(env, uid, home).map((path) => ({ endpoint: { kind: 'unix', path }, found: 'socket' }))
}

function usualSockets(env: EndpointSources['env'], uid: number, home: string): string[] {
  const runtime = env['XDG_RUNTIME_DIR'] ?? `/run/user/${uid}`
  const rootless = [`${runtime}/docker.sock`, `${home}/.docker/run/docker.sock`, `${runtime}/podman/podman.sock`]
  const system = ['/run/docker.sock', '/var/run/docker.sock', '/run/podman/podman.sock']
  return uid === 0 ? system : [...system, ...rootless]
}

function endpoint(text: string, env: EndpointSources['env']): Endpoint {
  const unix = /^unix:\/\/(\/.+)$/.exec(text)?.[1]
  if (unix !== undefined) return { kind: 'unix', path: unix }
  const [, scheme, host, port] = /^(tcp|https?):\/\/([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\]):(\d{1,5})\/?$/.exec(text) ?? []
  if (host === undefined || Number(port) > 65_535)
    throw new MeshError('E_CONFIG', `Cannot use the container engine ${text}: wanted unix:///path or tcp://host:port`)
  const tls = scheme === 'https' || (env['DOCKER_TLS_VERIFY'] ?? '') !== ''
  const certs = env['DOCKER_CERT_PATH']
  return { kind: 'tcp', host, port: Number(port), tls, ...(certs === undefined || certs === '' ? {} : { certs }) }
}

export function describeEndpoint(at: Endpoint): string {
  return at.kind === 'unix' ? `unix://${at.path}` : `${at.tls ? 'https' : 'tcp'}://${at.host}:${at.port}`
}
