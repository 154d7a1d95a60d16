import { MeshError } from '../../protocol/errors.ts'
import { LINE_END_BYTES } from '../../protocol/job.ts'
import type { Order } from './worker.ts'

/**
 * What the program of one order may log and ask of its caller. The node that runs it keeps these limits; they are counted here as well, since what a peer says of
 * itself proves nothing. A batch may take an isolate for all its inputs and then one for each, and each has the limits for itself.
 */
export class OrderBudget {
  #logBytes: number
  #hostCalls: number
  #hostCallBytes: number

  constructor({ kind, inputs, limits }: Pick<Order, 'kind' | 'inputs' | 'limits'>) {
    const isolates = kind === 'batch' ? inputs.length + 1 : 1
    this.#logBytes = limits.logBytes * isolates
    this.#hostCalls = limits.hostCalls * isolates
    this.#hostCallBytes = limits.hostCallBytes * isolates
  }

  /** @throws MeshError E_PROTOCOL when the program cannot have logged so much */
  log(text: string): void {
    this.#logBytes -= Buffer.byteLength(text) + LINE_END_BYTES
    if (this.#logBytes < 0)
      throw new MeshError('E_PROTOCOL', 'The node sent more console output than the task may have')
  }

  /** @throws MeshError E_PROTOCOL when the program cannot have made so many or so large calls */
  hostCall(argsBytes: number): void {
    this.#hostCalls -= 1
    this.#hostCallBytes -= argsBytes
    if (this.#hostCalls < 0 || this.#hostCallBytes < 0)
      throw new MeshError('E_PROTOCOL', 'The node made more host calls than the task may make')
  }
}
