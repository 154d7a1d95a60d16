/** The agent that runs inside as the container's only command: what to start, and how to talk to it. */
import type { GuestConnection, GuestOptions, GuestTransport } from './guest/guest-connection.ts'
import type { ProfileInput } from './profile.ts'

export interface GuestAgent {
  /** Pure. @param platform of the engine, e.g. "linux/amd64" */
  command(input: { readonly token: string; readonly platform: string; readonly cwd: string }): ProfileInput['agent']
  /**
   * Resolves when the agent answers. The stream may begin in the middle of an earlier conversation (`resumed`), whose commands are then over.
   * @throws MeshError E_SANDBOX_LOST
   */
  connect(
    transport: GuestTransport,
    options: GuestOptions & { readonly resumed: boolean; readonly signal: AbortSignal },
  ): Promise<GuestConnection>
}
