/** Serves the guest's calls of functions that live in the caller's process. */
import type { Channel } from './duplex.ts'
import { FRAME } from './duplex.ts'
import { ManyhandsError } from './errors.ts'
import { LIMITS } from './limits.ts'
import { hostCall } from './replies.ts'
import { decodeText } from './shape.ts'

/** Arguments come from the guest: check them. The result is sent as JSON; `undefined` as null. */
export type HostFunction = (...args: never[]) => unknown
/**
 * The guest calls them as `await env.<name>(...)`. When one throws a ManyhandsError, the guest sees its code and message; of any other error it learns
 * only that the function failed, since the guest may be a stranger's code on another host.
 */
export type HostFunctions = Readonly<Record<string, HostFunction>>

export class HostServer {
  readonly #functions: HostFunctions
  #running = 0

  constructor(functions: HostFunctions) {
    this.#functions = functions
  }

  get names(): readonly string[] {
    return Object.keys(this.#functions)
  }

  /** Answers on `channel`, whatever happens; a lost channel needs no answer. */
  serve(channel: Channel, id: number, text: string): void {
    const call = readCall(text)
    if (call === undefined) return fail(channel, id, 'E_PROTOCOL', 'The host call is not one')
    if (this.#running >= LIMITS.hostCalls) return fail(channel, id, 'E_OVERLOADED', 'Too many host calls at once')
    this.#running++
    this.#call(call.name, call.args)
      .then((json) => channel.sendWithId(FRAME.hostResult, id, json))
      .catch((error: unknown) => {
        if (error instanceof ManyhandsError) fail(channel, id, error.code, error.message)
        else fail(channel, id, 'E_HOST_CALL', `The host function "${call.name}" failed`)
      })
      .finally(() => {
        this.#running--
      })
  }

  async #call(name: string, args: unknown): Promise<string> {
    const call = Object.hasOwn(this.#functions, name) ? this.#functions[name] : undefined
    if (!call) throw new ManyhandsError('E_HOST_CALL', `There is no host function "${name.slice(0, 80)}"`)
    const list = Array.isArray(args) ? args : [args]
    // The guest's values have no type here; the function's own checks give them one
    const result: unknown = await call(...(list as never[]))
    const json = JSON.stringify(result) as string | undefined
    return json ?? 'null'
  }
}

/** Undefined for what is no call: it comes from the node that runs the guest, which may lie, and must harm no other call. */
function readCall(text: string): { readonly name: string; readonly args: unknown } | undefined {
  try {
    return decodeText(hostCall, text, 'a host call')
  } catch {
    return undefined
  }
}

function fail(channel: Channel, id: number, code: string, message: string): void {
  try {
    channel.sendWithId(FRAME.hostFailed, id, JSON.stringify({ code, message: message.slice(0, LIMITS.hostErrorChars) }))
  } catch {
    // The channel is gone, and the guest with it
  }
}
