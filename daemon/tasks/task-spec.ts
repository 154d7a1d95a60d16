/** What a task runs, apart from how far it is: kept in table "spec" until the task ends. */
import { manyhands } from '../../proto/gen/wire.js'
import { MeshError } from '../../protocol/errors.ts'
import type { Grade, Limits, Program } from '../../protocol/job.ts'
import { isGrade, limitsFromWire, programFromWire } from '../../protocol/task/job-codec.ts'

export interface Requirements {
  readonly capability: string
  readonly grade: Grade | undefined
  readonly labels: readonly string[]
  /** "any", "local", "other", or a node's name or id */
  readonly on: string
}

export interface TaskSpec {
  readonly program: Program
  /** sha256 of the program's canonical form, hex */
  readonly digest: string
  /** JSON texts: one for a run, many for a map, none for a session */
  readonly inputs: readonly string[]
  readonly limits: Limits
  readonly requires: Requirements
  readonly hostFunctions: readonly string[]
  readonly fresh: boolean
}

export function encodeSpec(spec: TaskSpec): Uint8Array {
  return manyhands.TaskSpec.encode({
    program: { main: spec.program.main, modules: spec.program.modules.map((module) => ({ ...module })) },
    inputs: spec.inputs.map((input) => Buffer.from(input)),
    limits: { ...spec.limits },
    requires: {
      capability: spec.requires.capability,
      grade: spec.requires.grade ?? '',
      labels: [...spec.requires.labels],
    },
    on: spec.requires.on,
    hostFunctions: [...spec.hostFunctions],
    fresh: spec.fresh,
  }).finish()
}

/** @throws MeshError E_JOURNAL_GAP when it does not decode */
export function decodeSpec(bytes: Uint8Array, digest: string, defaults: Limits): TaskSpec {
  try {
    const wire = manyhands.TaskSpec.decode(bytes)
    const grade = wire.requires?.grade
    return {
      program: programFromWire(wire.program),
      digest,
      inputs: wire.inputs.map((input) => Buffer.from(input).toString('utf8')),
      limits: limitsFromWire(wire.limits, defaults),
      requires: {
        capability: wire.requires?.capability ?? 'isolate',
        grade: isGrade(grade) ? grade : undefined,
        labels: wire.requires?.labels ?? [],
        on: wire.on,
      },
      hostFunctions: wire.hostFunctions,
      fresh: wire.fresh,
    }
  } catch (cause) {
    throw new MeshError('E_JOURNAL_GAP', 'Cannot read what a task runs from the journal: it does not decode', { cause })
  }
}
