/**
 * A run: opened, host calls and logs both ways, end. When the client goes away, a run with host functions ends with it: nobody serves its calls.
 * `opened` may come as late as the end, since it says that the task is durable.
 */
import { DUPLEX, type RunOpen } from '../../../protocol/api.ts'
import { MeshError } from '../../../protocol/errors.ts'
import { payloadId } from '../../../protocol/duplex-frame.ts'
import type { Tasks } from '../../tasks/tasks.ts'
import type { Channel, ChannelOutput } from './channel.ts'
import { HostCalls } from './host-calls.ts'

/** One for all: it is made at the end of every run, and hardly ever heard */
const ENDED = new MeshError('E_CALLER_GONE', 'The task has ended')

export function openRun(open: RunOpen, subject: string, tasks: Tasks, out: ChannelOutput): Channel {
  const { key, hostFunctions, ...request } = open
  const calls = new HostCalls(out.wire, out.id)
  const waiting = new AbortController()
  let task: string | undefined
  let cancelWanted = false
  const cancel = (): void => {
    cancelWanted = true
    // Refused when it has ended meanwhile; the end says so itself
    if (task !== undefined) tasks.cancel(task).catch(() => undefined)
  }

  const run = async (): Promise<void> => {
    try {
      const view = await tasks.run(request, key === undefined ? { subject } : { subject, key }, {
        hostFunctions,
        isPatient: true,
        onLog: (line) => out.log(line),
        onHostCall: (name, argsJson, signal) => calls.call(name, argsJson, signal),
      })
      task = view.id
      out.json(DUPLEX.type.opened, { task: view.id, ...(view.lease === undefined ? {} : { lease: view.lease }) }, true)
      if (cancelWanted) cancel()
      out.end(await tasks.ended(view.id, waiting.signal))
    } catch (error) {
      out.problem(error)
    } finally {
      calls.close(ENDED)
    }
  }
  void run()

  return {
    onFrame(type, bytes, start, end) {
      switch (type) {
        case DUPLEX.type.hostResult:
          return calls.result(payloadId(bytes, start, end), bytes.toString('utf8', start + 4, end))
        case DUPLEX.type.hostFailed:
          return calls.failed(payloadId(bytes, start, end), bytes.subarray(start + 4, end))
        case DUPLEX.type.cancel:
          return cancel()
        default:
          throw new MeshError('E_PROTOCOL', `Cannot use a frame of type ${type} on a run`)
      }
    },
    abandon(error) {
      out.drop()
      calls.close(error)
      waiting.abort(error)
      // Without host functions it needs nobody: it goes on, and its key finds it again
      if (hostFunctions.length > 0) cancel()
    },
  }
}
