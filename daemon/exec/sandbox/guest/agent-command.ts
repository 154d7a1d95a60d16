/** How the agent is started as a container's first process, and where its file comes from. */
import { randomBytes } from 'node:crypto'
import { chmod, mkdir, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { HELPERS } from './agent/prebuilt.ts'

/** Where the folder with the helper is bound into the container, read-only: one folder for each container, as sockets of the daemon come there too. */
export const AGENT_FOLDER = '/run/manyhands'
const HELPER_NAME = 'agent'

/** Marks where a conversation begins; kept with the container, as another daemon may take it up. */
export function newAgentToken(): string {
  return randomBytes(16).toString('hex')
}

/**
 * Writes the helper for an engine's processor (its own name of it: "amd64", "x86_64", "arm64", "aarch64") into `folder`, which is to be bound into a
 * container as `AGENT_FOLDER`. Gives its path there, or undefined when there is none for that processor: then the shell agent serves.
 */
export async function installHelper(folder: string, architecture: string): Promise<string | undefined> {
  const helper = helperFor(architecture)
  if (helper === undefined) return undefined
  const path = join(folder, HELPER_NAME)
  const fresh = `${path}.${randomBytes(4).toString('hex')}`
  await mkdir(folder, { recursive: true })
  await writeFile(fresh, gunzipSync(Buffer.from(helper.gzip, 'base64')))
  await chmod(fresh, 0o555)
  await rename(fresh, path)
  return path
}

function helperFor(architecture: string): (typeof HELPERS)[keyof typeof HELPERS] | undefined {
  if (architecture === 'amd64' || architecture === 'x86_64' || architecture === 'x64') return HELPERS.x64
  if (architecture === 'arm64' || architecture === 'aarch64') return HELPERS.arm64
  return undefined
}

/** Command line of the container's first process, for an image with nothing but the kernel's interface. */
export function helperCommand(token: string): string[] {
  return [`${AGENT_FOLDER}/${HELPER_NAME}`, token]
}
