/** A container with nothing but the agent in it, as a sandbox would start it, without the sandbox around it. */
import { randomBytes } from 'node:crypto'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import Docker from 'dockerode'
import { attachedTransport } from '../../daemon/exec/sandbox/engine/attached-stream.ts'
import {
  AGENT_FOLDER,
  helperCommand,
  installHelper,
  newAgentToken,
} from '../../daemon/exec/sandbox/guest/agent-command.ts'
import { connectGuest } from '../../daemon/exec/sandbox/guest/connect.ts'
import type { GuestConnection } from '../../daemon/exec/sandbox/guest/guest-connection.ts'

export interface GuestContainer {
  readonly connection: GuestConnection
  readonly docker: Docker
  readonly id: string
  /** A second conversation with the same agent */
  again(): Promise<GuestConnection>
  remove(): Promise<void>
}

/** gVisor was seen never to start on a busy host: then another one is tried. Milliseconds */
const START_MS = 20_000
const TRIES = 3

export async function startGuestContainer(
  socket: string,
  image: string,
  runtime = 'runc',
  direct = true,
): Promise<GuestContainer> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await startOnce(socket, image, runtime, direct)
    } catch (error) {
      if (attempt === TRIES || !(error instanceof LateStart)) throw error
      console.warn(`${error.message}; trying again`)
    }
  }
}

class LateStart extends Error {}

/** @throws LateStart when the engine has not started it in time */
async function startInTime(container: Docker.Container): Promise<void> {
  const abortSignal = AbortSignal.timeout(START_MS)
  await container.start({ abortSignal }).catch((error: unknown) => {
    if (!abortSignal.aborted) throw error
    throw new LateStart(`The engine did not start a container in ${START_MS} ms`, { cause: error })
  })
}

async function startOnce(socket: string, image: string, runtime: string, direct: boolean): Promise<GuestContainer> {
  const docker = new Docker({ socketPath: socket })
  const folder = mkdtempSync(join(tmpdir(), 'mh-guest-'))
  chmodSync(folder, 0o755)
  const helper = await installHelper(folder, process.arch)
  if (helper === undefined) throw new Error(`There is no helper for ${process.arch}`)
  const token = newAgentToken()
  const container = await docker.createContainer({
    name: `mh-guest-${randomBytes(6).toString('hex')}`,
    Image: image,
    Entrypoint: helperCommand(token),
    User: '10001:10001',
    WorkingDir: '/workspace',
    Env: ['HOME=/workspace'],
    OpenStdin: true,
    StdinOnce: false,
    AttachStdin: true,
    NetworkDisabled: true,
    HostConfig: {
      Binds: [`${folder}:${AGENT_FOLDER}:ro`],
      NetworkMode: 'none',
      LogConfig: { Type: 'none', Config: {} },
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges'],
      // gVisor counts the threads of its own kernel, several for each process of the guest
      PidsLimit: runtime === 'runsc' ? 4096 : 256,
      Runtime: runtime,
      Memory: 512 << 20,
      Tmpfs: { '/workspace': 'rw,nosuid,nodev,exec,size=256m,uid=10001,gid=10001,mode=0755' },
    },
  })
  const attach = async (): Promise<GuestConnection> => {
    const stream: NodeJS.ReadWriteStream = await container.attach({
      stream: true,
      stdin: true,
      stdout: true,
      stderr: true,
      hijack: true,
    })
    const transport = attachedTransport(stream as Duplex)
    if (!started) await startInTime(container)
    started = true
    return connectGuest(transport, {
      agent: 'helper',
      token,
      cwd: '/workspace',
      ...(direct ? { sharedFolder: { host: folder, guest: AGENT_FOLDER } } : {}),
    })
  }
  let started = false
  const remove = async (): Promise<void> => {
    await container.remove({ force: true, abortSignal: AbortSignal.timeout(START_MS) }).catch(() => {})
    rmSync(folder, { recursive: true, force: true })
  }
  try {
    return { connection: await attach(), docker, id: container.id, again: attach, remove }
  } catch (error) {
    await remove()
    throw error
  }
}
