/** Host calls on their way to the client of one channel and back: numbered, bounded, each settled once. */
import { DUPLEX } from '../../../protocol/api.ts'
import { isErrorCode, MeshError } from '../../../protocol/errors.ts'
import { LIMITS } from '../../../protocol/limits.ts'
import { parseJsonText } from '../../../protocol/json-text.ts'
import { DUPLEX_LIMITS } from './limits.ts'
import type { DuplexWire } from './wire.ts'

interface Waiting {
  resolve(resultJson: string): void
  reject(error: MeshError): void
}

export class HostCalls {
  readonly #wire: DuplexWire
  readonly #channel: number
  readonly #waiting = new Map<number, Waiting>()
  #last = 0
  #over: MeshError | undefined

  constructor(wire: DuplexWire, channel: number) {
    this.#wire = wire
    this.#channel = channel
  }

  /** @throws MeshError what the client answered, E_CALLER_GONE, E_CALL_BUDGET, the signal's reason */
  call(name: string, argsJson: string, signal: AbortSignal): Promise<string> {
    return new Promise((resolve, reject) => {
      if (this.#over) return reject(this.#over)
      if (signal.aborted) return reject(signal.reason)
      if (this.#waiting.size >= DUPLEX_LIMITS.openHostCalls)
        return reject(
          new MeshError(
            'E_CALL_BUDGET',
            `Cannot call "${name}": ${DUPLEX_LIMITS.openHostCalls} calls wait for an answer`,
          ),
        )
      if (!this.#wire.hasRoom(argsJson))
        return reject(
          new MeshError('E_OVERLOADED', `Cannot call "${name}": the client does not take what was sent before`, {
            retryAfterMs: 1_000,
          }),
        )
      // Ids are u32; one that still waits after four thousand million others is not a case
      this.#last = (this.#last + 1) % 0x1_0000_0000
      const id = this.#last
      const onAbort = (): void => {
        this.#waiting.delete(id)
        reject(signal.reason)
      }
      const settled = (): void => signal.removeEventListener('abort', onAbort)
      signal.addEventListener('abort', onAbort, { once: true })
      this.#waiting.set(id, {
        resolve: (resultJson) => {
          settled()
          resolve(resultJson)
        },
        reject: (error) => {
          settled()
          reject(error)
        },
      })
      try {
        // The arguments are passed on as they came: the client parses them, nobody between
        this.#wire.idText(
          this.#channel,
          DUPLEX.type.hostCall,
          id,
          `{"name":${JSON.stringify(name)},"args":${argsJson}}`,
        )
      } catch (error) {
        this.#take(id)?.reject(
          error instanceof MeshError ? error : new MeshError('E_HOST_CALL', `Cannot call "${name}"`, { cause: error }),
        )
      }
    })
  }

  /** An answer to a call that is not waited for any more is of no interest. */
  result(id: number, resultJson: string): void {
    this.#take(id)?.resolve(resultJson)
  }

  failed(id: number, payload: Uint8Array): void {
    this.#take(id)?.reject(clientError(payload))
  }

  /** Fails every call, now and from here on. */
  close(error: MeshError): void {
    if (this.#over) return
    this.#over = error
    for (const id of [...this.#waiting.keys()]) this.#take(id)?.reject(error)
  }

  #take(id: number): Waiting | undefined {
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    return waiting
  }
}

/** {"code", "message"}: a code of ours keeps its meaning for the guest, any other is a failed host call. */
function clientError(payload: Uint8Array): MeshError {
  try {
    const value = parseJsonText(payload, 'a failed host call')
    if (typeof value !== 'object' || value === null) throw new TypeError('An object is wanted')
    const message =
      'message' in value && typeof value.message === 'string'
        ? value.message.slice(0, LIMITS.logLineBytes)
        : 'The host function failed'
    return new MeshError('code' in value && isErrorCode(value.code) ? value.code : 'E_HOST_CALL', message)
  } catch (cause) {
    return new MeshError('E_HOST_CALL', 'The host function failed', { cause })
  }
}
