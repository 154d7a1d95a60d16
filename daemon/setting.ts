/** What a start is made from: paths, configuration, identity and mesh, read once. */
import { hostname } from 'node:os'
import { join } from 'node:path'
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
  const isNew = found === undefined && (await findIdentity(paths.identityFile)) === undefined
  const identity = isNew ? await createIdentity(paths.identityFile) : await readIdentity(paths.identityFile)
  const nodeName = config.name || found?.nodeName || hostname()
  const mesh = found ?? foundMesh(identity.signer, `${nodeName}'s mesh`, nodeName)
  if (found === undefined) await writeMesh(paths.meshFile, mesh)
  const sink = config.log.file ? logFile(paths.logFile, config.log.maxBytes) : standardError()
  const logger = createLogger({ level: config.log.level, sink, node: mesh.nodeName })
  return { loaded, paths, identity, mesh, logger, env: options.env ?? process.env, isNew }
}

/** Beside the identity: a node that has run before never begins an empty journal in silence. */
export function startedMark(paths: Paths): string {
  return join(paths.dataDir, 'started')
}
