/** What a start is made from: paths, configuration, identity and mesh, read once. */
import { existsSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { cutText } from '../protocol/bounded-decode.ts'
import { MeshError } from '../protocol/errors.ts'
import { LIMITS } from '../protocol/limits.ts'
import { type LoadedConfig, loadConfig } from './config/load.ts'
import type { Paths } from './config/paths.ts'
import { userPaths } from './config/user-paths.ts'
import { ensurePrivateFolder } from './files/private-file.ts'
import { createIdentity, findIdentity, type Identity, readIdentity } from './identity/identity.ts'
import { findMesh, foundMesh, type Mesh, writeMesh } from './identity/mesh-file.ts'
import { logFile, standardError } from './observe/log-file.ts'
import { createLogger, type Logger } from './observe/logger.ts'

export interface DaemonOptions {
  /** @default process.env */
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Configuration by dotted key, above file and environment */
  readonly flags?: Readonly<Record<string, string>>
  /** Configuration file; must exist when given. @default the one of the paths */
  readonly configFile?: string
}

export interface Setting {
  readonly loaded: LoadedConfig
  readonly paths: Paths
  readonly identity: Identity
  readonly mesh: Mesh
  readonly logger: Logger
  /** Of this process, as far as it is not configuration: where the container engine is */
  readonly env: Readonly<Record<string, string | undefined>>
  /** Nothing of a node was here before: then, and only then, a journal may be missing */
  readonly isNew: boolean
}

/** @throws MeshError E_CONFIG, E_WIDE_BIND */
export function pathsAndConfig(options: DaemonOptions): LoadedConfig & { readonly paths: Paths } {
  const env = options.env ?? process.env
  const paths = userPaths(env)
  const file = options.configFile ?? paths.configFile
  const loaded = loadConfig({ file, fileRequired: options.configFile !== undefined, env, flags: options.flags ?? {} })
  return { ...loaded, paths }
}

/** @throws MeshError E_CONFIG, E_INSECURE_FILE, E_IDENTITY */
export async function settle(options: DaemonOptions): Promise<Setting> {
  const { paths, ...loaded } = pathsAndConfig(options)
  const { config } = loaded
  for (const folder of [paths.dataDir, paths.stateDir, paths.runDir]) await ensurePrivateFolder(folder)
  const found = await findMesh(paths.meshFile)
  const hasRun = existsSync(startedMark(paths))
  const isNew = !hasRun && found === undefined && (await findIdentity(paths.identityFile)) === undefined
  const identity = isNew ? await createIdentity(paths.identityFile) : await readIdentity(paths.identityFile)
  // A mesh of its own would take it from its members without a word, and from what its journal knows of them.
  if (hasRun && found === undefined) throw lostMesh(paths.meshFile)
  const mesh = found ?? (await firstMesh(paths.meshFile, identity, config.name || hostname()))
  const sink = config.log.file ? logFile(paths.logFile, config.log.maxBytes) : standardError()
  const logger = createLogger({ level: config.log.level, sink, node: mesh.nodeName })
  return { loaded, paths, identity, mesh, logger, env: options.env ?? process.env, isNew }
}

function lostMesh(file: string): MeshError {
  return new MeshError('E_CONFIG', `Cannot find which mesh this node belongs to: ${file} does not exist`, {
    hint: 'Restore it from a copy, or join again with a new invite.',
  })
}

/** Founds a mesh, unless another start or a join was first: what the file says is what the next start goes by. */
async function firstMesh(file: string, { signer }: Identity, nodeName: string): Promise<Mesh> {
  const ofNode = "'s mesh"
  const mesh = foundMesh(signer, `${cutText(nodeName, LIMITS.nameBytes - ofNode.length)}${ofNode}`, nodeName)
  if (await writeMesh(file, mesh)) return mesh
  return (await findMesh(file)) ?? mesh
}

/** Beside the identity: a node that has run before never begins an empty journal in silence. */
export function startedMark(paths: Paths): string {
  return join(paths.dataDir, 'started')
}
