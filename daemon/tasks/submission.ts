/** What a client asked for, checked and completed: defaults filled in, ceilings kept, types stripped. */
import type { LimitsInput, ProgramInput, RequiresInput } from '../../protocol/api.ts'
import { MeshError } from '../../protocol/errors.ts'
import type { Limits, Program } from '../../protocol/job.ts'
import { LIMITS } from '../../protocol/limits.ts'
import { normaliseProgram, programDigest } from '../programs/program.ts'
import { checkLimits } from './check-limits.ts'
import type { TaskSpec } from './task-spec.ts'

export interface Submission {
  readonly program: ProgramInput | Program
  readonly limits?: LimitsInput
  readonly requires?: RequiresInput
}

export interface LimitBounds {
  readonly defaults: Limits
  readonly ceilings: Limits
}

/** @throws MeshError E_BAD_REQUEST, E_TOO_LARGE, E_SYNTAX */
export function specOf(
  request: Submission,
  inputs: readonly string[],
  hostFunctions: readonly string[],
  bounds: LimitBounds,
): TaskSpec {
  const tooLong = inputs.findIndex((input) => input.length > LIMITS.inputBytes)
  if (tooLong >= 0)
    throw new MeshError('E_TOO_LARGE', `Cannot take the task: input ${tooLong} is above ${LIMITS.inputBytes} bytes`, {
      hint: 'Give large data as files of an artifact (--take), or through host functions',
    })
  checkHostFunctions(hostFunctions)
  const program = isNormalised(request.program) ? request.program : normaliseProgram(request.program)
  const { capability = 'isolate', grade, labels = [], on = 'any' } = request.requires ?? {}
  return {
    program,
    digest: programDigest(program),
    inputs,
    limits: limitsOf(request.limits ?? {}, bounds),
    requires: { capability, grade, labels, on },
    hostFunctions,
    fresh: false,
  }
}

function isNormalised(program: ProgramInput | Program): program is Program {
  return Array.isArray(program.modules)
}

function limitsOf(asked: LimitsInput, { defaults, ceilings }: LimitBounds): Limits {
  const given = Object.fromEntries(Object.entries(asked).filter(([, value]) => value !== undefined))
  const limits: Limits = { ...defaults, ...given }
  checkLimits(limits, ceilings, 'Cannot take the task')
  return limits
}

function checkHostFunctions(names: readonly string[]): void {
  if (names.length > LIMITS.hostFunctions) {
    throw new MeshError(
      'E_TOO_LARGE',
      `Cannot take the task: ${names.length} host functions, at most ${LIMITS.hostFunctions} are allowed`,
    )
  }
  const bad = names.find((name) => !/^[A-Za-z_$][\w$]{0,63}$/.test(name) || name === '__proto__')
  if (bad !== undefined)
    throw new MeshError('E_BAD_REQUEST', `Cannot take the task: "${bad}" is no name for a host function`)
}
