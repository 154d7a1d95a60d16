import type { SandboxView } from './sandbox.ts'

type Reason = NonNullable<SandboxView['lastEnd']>

/** gVisor ends with all its guests when it has no thread left. */
const GVISOR_NO_THREAD = 2

/**
 * Why a sandbox last ended without being told to. That memory ran out is told by the engine in the state of the container or, where the kernel's word
 * came after the end itself, as an event alone; so what was concluded of an end can still become `memory`.
 */
export class LastEnd {
  #reason: Reason | undefined
  /** Of the life that goes on, or of the last one */
  #memoryRanOut = false
  /** The last life ended by itself, and nothing but its exit code says why */
  #unexplained = false

  get reason(): Reason | undefined {
    return this.#reason
  }

  /** It is up again. */
  begin(): void {
    this.#memoryRanOut = false
    this.#unexplained = false
  }

  /** The engine's event: the kernel ended one of its processes for memory. */
  memoryRanOut(): void {
    this.#memoryRanOut = true
    if (this.#unexplained) this.#reason = 'memory'
  }

  /** @param outOfMemory what the container's state says */
  died(exit: { readonly gvisor: boolean; readonly outOfMemory: boolean; readonly code: number }): void {
    const memory = exit.outOfMemory || this.#memoryRanOut
    this.#unexplained = !memory
    this.#reason = memory ? 'memory' : exit.gvisor && exit.code === GVISOR_NO_THREAD ? 'pids' : 'exit'
  }

  endedFor(reason: 'disk' | 'engine'): void {
    this.#reason = reason
    this.#unexplained = false
  }
}
