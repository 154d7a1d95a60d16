/** Limits of sandboxes: defaults, floors and the profile's own numbers, each with its reason. Bytes unless the name says otherwise. */
import { MeshError } from '../../../protocol/errors.ts'
import type { SandboxLimits } from './sandbox.ts'

const MIB = 1 << 20

export const DEFAULT_LIMITS: SandboxLimits = {
  memoryBytes: 1024 * MIB,
  milliCpus: 1_000,
  pids: 512,
  diskBytes: 2048 * MIB,
  inodes: 200_000,
  tmpBytes: 256 * MIB,
  rootBytes: 4096 * MIB,
}

/** What a node grants at most unless it is configured otherwise. */
export const DEFAULT_CEILINGS: SandboxLimits = {
  memoryBytes: 16 * 1024 * MIB,
  milliCpus: 64_000,
  pids: 4_096,
  diskBytes: 64 * 1024 * MIB,
  inodes: 4_000_000,
  tmpBytes: 4096 * MIB,
  rootBytes: 64 * 1024 * MIB,
}

/** With less nothing useful starts: refused rather than raised. gVisor's own threads count as processes, hence 128. */
export const LIMIT_FLOORS: SandboxLimits = {
  memoryBytes: 32 * MIB,
  milliCpus: 10,
  pids: 128,
  diskBytes: 8 * MIB,
  inodes: 256,
  tmpBytes: MIB,
  rootBytes: 64 * MIB,
}

const NAMES = [
  'memoryBytes',
  'milliCpus',
  'pids',
  'diskBytes',
  'inodes',
  'tmpBytes',
  'rootBytes',
] as const satisfies readonly (keyof SandboxLimits)[]

/** Complete limits from what was asked for. @throws MeshError E_BAD_REQUEST for a number outside floor and ceiling */
export function settleLimits(
  wanted: Partial<SandboxLimits> | undefined,
  defaults: SandboxLimits,
  ceilings: SandboxLimits,
): SandboxLimits {
  const settled: { -readonly [Name in keyof SandboxLimits]: number } = { ...DEFAULT_LIMITS }
  for (const name of NAMES) {
    const asked = wanted !== undefined && Object.hasOwn(wanted, name) ? wanted[name] : undefined
    const value = asked ?? Math.min(defaults[name], ceilings[name])
    if (!Number.isSafeInteger(value) || value < LIMIT_FLOORS[name] || value > ceilings[name])
      throw new MeshError(
        'E_BAD_REQUEST',
        `Cannot make the sandbox: ${name} must be a whole number from ${LIMIT_FLOORS[name]} to ${ceilings[name]}: found ${String(value)}`,
      )
    settled[name] = value
  }
  return settled
}

/** Bounds of the executor itself. */
export const SANDBOX_BOUNDS = {
  /** Sandboxes of one node, asleep ones included */
  sandboxes: 1_000,
  /** Snapshots of one sandbox */
  snapshots: 32,
  /** Any one answer of the engine, milliseconds; pulls and imports have their own */
  engineCallMs: 30_000,
  /** Until a started container's agent must answer, milliseconds */
  agentMs: 15_000,
  /** A stopped sandbox gets this long to end by itself, seconds */
  stopSeconds: 2,
  /** Tries at removing a container that the engine will not let go of */
  removeTries: 6,
  /** One image or content stream */
  imageBytes: 16 * 1024 * MIB,
  /** Files in one content stream */
  contentEntries: 2_000_000,
  /** Environment of a sandbox, all names and values together */
  envBytes: 64 << 10,
} as const
