/** What a run and a session on a duplex share: the frames that concern the task itself. */
import type { RunOpen, SessionOpen, TaskEvent, TaskView } from '../../protocol/api.ts'
import { type Channel, type ChannelListener, type Duplex, FRAME } from './duplex.ts'
import { ManyhandsError, problemError, protocolError } from './errors.ts'
import type { HostServer } from './host-functions.ts'
import { logEvent, openReply, problem, taskView } from './replies.ts'
import { decodeText } from './shape.ts'
import { deferred } from './wait.ts'

export type LogEvent = Extract<TaskEvent, { type: 'log' }>
export type OnLog = (line: LogEvent) => void

export interface ChannelTaskOptions {
  readonly host: HostServer
  readonly onLog: OnLog | undefined
  /** Frames of type reply and callFailed */
  readonly onReply?: (type: number, id: number, text: string) => void
  /** Called once, before `ended` settles */
  readonly onEnd?: (task: TaskView | undefined, error: Error | undefined) => void
}

export class ChannelTask implements ChannelListener {
  /** Rejects when the task was refused */
  readonly opened: Promise<string>
  /** The ended task, whatever its state; rejects when it was refused, the connection was lost, or `onLog` threw */
  readonly ended: Promise<TaskView>
  readonly channel: Channel
  readonly #options: ChannelTaskOptions
  readonly #opened = deferred<string>()
  readonly #ended = deferred<TaskView>()

  /** @param open its `json` is the run as JSON text, when that exists already */
  constructor(
    duplex: Duplex,
    open: { run: RunOpen; json?: string } | { session: SessionOpen },
    options: ChannelTaskOptions,
  ) {
    this.#options = options
    this.opened = this.#opened.promise
    this.ended = this.#ended.promise
    // Either may fail before anyone waits for it
    this.opened.catch(() => undefined)
    this.ended.catch(() => undefined)
    this.channel =
      'run' in open ? duplex.open(FRAME.run, open.run, this, open.json) : duplex.open(FRAME.session, open.session, this)
  }

  /** Asks the daemon to cancel; `ended` tells the outcome. */
  cancel(): void {
    try {
      this.channel.send(FRAME.cancel, '')
    } catch {
      // A lost connection cancels as well
    }
  }

  onFrame(type: number, id: number, text: string): void {
    switch (type) {
      case FRAME.reply:
      case FRAME.callFailed:
        return this.#options.onReply?.(type, id, text)
      case FRAME.hostCall:
        return this.#options.host.serve(this.channel, id, text)
      case FRAME.log:
        return this.#log(decodeText(logEvent, text, 'a log line'))
      case FRAME.opened:
        return this.#opened.resolve(decodeText(openReply, text, 'the reply to an open').task)
      case FRAME.end:
        return this.#end(decodeText(taskView, text, 'a task'), undefined)
      case FRAME.problem:
        return this.#end(undefined, problemError(decodeText(problem, text, 'a problem report')))
      default:
        throw protocolError(`Cannot read the duplex: a frame of type ${type} came`)
    }
  }

  onLost(error: ManyhandsError): void {
    this.#end(undefined, error)
  }

  /** A caller who cannot take a line ends this task; the connection, and all else on it, goes on. */
  #log(line: LogEvent): void {
    try {
      this.#options.onLog?.(line)
    } catch (error) {
      this.cancel()
      this.#end(undefined, error instanceof Error ? error : logError(error))
    }
  }

  #end(task: TaskView | undefined, error: Error | undefined): void {
    this.channel.release()
    this.#options.onEnd?.(task, error)
    if (task) {
      this.#opened.resolve(task.id)
      this.#ended.resolve(task)
      return
    }
    this.#opened.reject(error)
    this.#ended.reject(error)
  }
}

function logError(cause: unknown): ManyhandsError {
  return new ManyhandsError('E_CANCELED', 'The task was canceled: onLog threw', { cause })
}
