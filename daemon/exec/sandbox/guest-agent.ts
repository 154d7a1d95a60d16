/** The agent that runs inside as the container's only command: what to start, and how to talk to it. */
import { randomBytes } from 'node:crypto'
import { chmod, link, mkdir, readdir, rename, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { AGENT_FOLDER, helperCommand, installHelper } from './guest/agent-command.ts'
import { connectGuest } from './guest/connect.ts'
import type { GuestConnection, GuestOptions, GuestTransport } from './guest/guest-connection.ts'
import { shellCommand } from './guest/shell/program.ts'
import type { ProfileInput } from './profile.ts'

export interface AgentConnectOptions extends Omit<GuestOptions, 'sharedFolder'> {
  readonly signal: AbortSignal
  /** Whether guest and daemon are on one host */
  readonly local: boolean
}

export interface GuestAgent {
  /** Makes it ready for an engine. @param platform e.g. "linux/amd64" */
  prepare(platform: string): Promise<void>
  /** What a sandbox starts with; called before each start. @param token marks where a conversation begins */
  install(sandbox: string, token: string): Promise<ProfileInput['agent']>
  /**
   * Resolves when the agent answers. The stream may begin in the middle of an earlier conversation, whose commands are then over.
   * @throws MeshError E_SANDBOX_LOST
   */
  connect(sandbox: string, transport: GuestTransport, options: AgentConnectOptions): Promise<GuestConnection>
  /** Takes back what `install` gave; from all sandboxes that are not `known` when none is named */
  uninstall(sandbox: string | { known(id: string): boolean }): Promise<void>
}

/**
 * The static helper. Each sandbox has a folder of its own in `folder`, bound into it read-only: the helper's file (one file with many names, as all are
 * the same) and for a moment the socket over which daemon and helper find each other. On processors that it is not built for the image's own shell is
 * the agent. @param installs gives undefined there
 */
export function helperAgent(folder: string, installs: typeof installHelper = installHelper): GuestAgent {
  let helper: string | undefined
  const folderOf = (sandbox: string): string => join(folder, sandbox)
  const remove = (sandbox: string): Promise<void> => rm(folderOf(sandbox), { recursive: true, force: true })
  return {
    async prepare(platform) {
      helper = await installs(join(folder, '.helper'), platform.split('/')[1] ?? '')
    },
    async install(sandbox, token) {
      const own = folderOf(sandbox)
      await mkdir(own, { recursive: true })
      // The guest's user looks into it, whatever the daemon's umask.
      await chmod(own, 0o755)
      if (helper === undefined) return { argv: shellCommand(token), env: {}, folder: own, init: true }
      // One made by an earlier daemon gets this one's with its next start
      const fresh = join(own, `.${randomBytes(4).toString('hex')}`)
      await link(helper, fresh)
      await rename(fresh, join(own, basename(helper)))
      // Two names of one file are left as they are
      await rm(fresh, { force: true })
      return { argv: helperCommand(token), env: {}, folder: own, init: false }
    },
    connect(sandbox, transport, { local, ...options }) {
      if (helper === undefined) return connectGuest(transport, { ...options, agent: 'shell' })
      const sharedFolder = { host: folderOf(sandbox), guest: AGENT_FOLDER }
      return connectGuest(transport, { ...options, agent: 'helper', ...(local ? { sharedFolder } : {}) })
    },
    async uninstall(sandbox) {
      if (typeof sandbox === 'string') return remove(sandbox)
      for (const name of await readdir(folder).catch(() => []))
        if (!name.startsWith('.') && !sandbox.known(name)) await remove(name)
    },
  }
}
