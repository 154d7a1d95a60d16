import { MeshError } from '../../protocol/errors.ts'
import { LIMIT_FLOORS, type Limits } from '../../protocol/job.ts'

/**
 * @param refused beginning of the message, e.g. "Cannot take the task"
 * @throws MeshError E_BAD_REQUEST for a limit with which no job can begin, or above the ceiling of this node
 */
export function checkLimits(limits: Limits, ceilings: Limits, refused: string): void {
  for (const [key, value] of Object.entries(limits)) {
    const name = key as keyof Limits
    const floor = LIMIT_FLOORS[name]
    if (!(value >= floor))
      throw new MeshError('E_BAD_REQUEST', `${refused}: limit ${name} is ${value}, at least ${floor} is needed`)
    if (value > ceilings[name])
      throw new MeshError(
        'E_BAD_REQUEST',
        `${refused}: limit ${name} is ${value}, at most ${ceilings[name]} is allowed here`,
        { hint: `The operator of this node can raise executor.ceilings.${name}` },
      )
  }
}
