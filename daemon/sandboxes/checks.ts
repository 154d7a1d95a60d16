/** What `manyhands doctor` says about sandboxes: the engine, what separates guests, what bounds their disks, the image, and the door. */
import type { Check } from '../../protocol/api.ts'
import type { Config } from '../config/schema.ts'
import type { EgressDoor } from '../egress/egress.ts'
import type { EngineInfo } from '../exec/sandbox/engine/engine-info.ts'
import type { SandboxExecutor } from '../exec/sandbox/sandbox.ts'

export async function sandboxChecks(
  executor: SandboxExecutor,
  egress: EgressDoor,
  wanted: Config['sandbox'],
): Promise<Check[]> {
  const info = executor.info()
  if (info === undefined) return [noEngine(wanted), doorCheck(egress)]
  return [
    engineCheck(info),
    runtimeCheck(executor, info),
    storageCheck(info),
    await imageCheck(executor, wanted.image),
    doorCheck(egress),
  ]
}

function noEngine({ engine }: Config['sandbox']): Check {
  if (engine === 'none') return { name: 'engine', ok: true, level: 'ok', found: 'none wanted: no sandboxes here' }
  return {
    name: 'engine',
    ok: true,
    level: 'warn',
    found: 'no container engine: no sandboxes here',
    hint: 'Install Docker, or set DOCKER_HOST or sandbox.engine; "none" says that none is wanted',
  }
}

function engineCheck(info: EngineInfo): Check {
  const found = `${info.version} (API ${info.apiVersion}) on ${info.platform}, found by ${FOUND[info.found]}${info.rootless ? ', rootless' : ''}`
  const [warning] = info.warnings
  if (warning === undefined) return { name: 'engine', ok: true, level: 'ok', found }
  return { name: 'engine', ok: true, level: 'warn', found, hint: info.warnings.join('; ') }
}

const FOUND: Readonly<Record<EngineInfo['found'], string>> = {
  config: 'sandbox.engine',
  environment: 'DOCKER_HOST',
  socket: 'its socket',
}

function runtimeCheck(executor: SandboxExecutor, info: EngineInfo): Check {
  const found = info.runtimes.map(({ name, grade }) => `${name} (${grade})`).join(', ')
  const grades = executor.grades()
  if (grades.length === 0)
    return {
      name: 'runtimes',
      ok: false,
      level: 'fail',
      found,
      hint: 'None reaches sandbox.leastGrade: nothing is offered',
    }
  const strong = grades.includes('gvisor') || grades.includes('microvm')
  if (strong) return { name: 'runtimes', ok: true, level: 'ok', found }
  const hint = 'Guests share the kernel of this host: install gVisor (runsc) or Kata for stronger isolation'
  return { name: 'runtimes', ok: true, level: 'warn', found, hint }
}

function storageCheck({ storage, cgroup }: EngineInfo): Check {
  const workspace = storage.loopWorkspaces ? 'workspaces on disks of their own' : 'workspaces in memory'
  const root = storage.rootQuota ? 'roots bounded by the driver' : 'roots looked at every few seconds'
  const found = `${storage.driver}, cgroup v${cgroup}; ${workspace}, ${root}`
  if (storage.loopWorkspaces) return { name: 'storage', ok: true, level: 'ok', found }
  const hint = 'Run the daemon as root on the host of the engine to have workspaces that survive a stop'
  return { name: 'storage', ok: true, level: 'warn', found, hint }
}

async function imageCheck(executor: SandboxExecutor, name: string): Promise<Check> {
  try {
    const { digest } = await executor.images.resolve(name)
    return { name: 'image', ok: true, level: 'ok', found: `${name} ${digest.slice(0, 19)}` }
  } catch {
    const hint = 'Build it: manyhands image build-default; or name another: sandbox.image'
    return { name: 'image', ok: true, level: 'warn', found: `${name} is not here`, hint }
  }
}

function doorCheck(egress: EgressDoor): Check {
  const { running, restarts, doors } = egress.state()
  const rules = egress.policy.list().length
  const found = `${running ? 'runs' : 'not started'}, ${doors} doors, ${rules} rules${restarts > 0 ? `, ended ${restarts} times` : ''}`
  if (restarts < 3) return { name: 'egress', ok: true, level: 'ok', found }
  return { name: 'egress', ok: true, level: 'warn', found, hint: 'The proxy process ends again and again: see the log' }
}
