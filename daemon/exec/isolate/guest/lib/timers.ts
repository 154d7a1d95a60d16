/** Timers over the one timer of the host. One callback a step, so that microtasks run between callbacks. */
import type { Realm } from '../realm.ts'
import { reportError } from './web-idl.ts'

/** Timers a program may have waiting. */
const MOST = 1024
const LONGEST_MS = 2 ** 31 - 1

interface Timer {
  readonly id: number
  readonly run: () => unknown
  /** `undefined` for a timeout */
  readonly everyMs: number | undefined
  due: number
}

export default ({ host, now, onWake }: Realm) => {
  /** Ordered by due time, then by age. */
  const queue: Timer[] = []
  let lastId = 0
  let armedFor = Infinity

  const arm = () => {
    const due = queue[0]?.due ?? Infinity
    if (due === armedFor) return
    armedFor = due
    host('wake', due === Infinity ? -1 : Math.max(0, due - now()))
  }
  const insert = (timer: Timer) => {
    const at = queue.findLastIndex((other) => other.due <= timer.due) + 1
    queue.splice(at, 0, timer)
  }
  const add = (who: string, handler: unknown, delay: unknown, args: unknown[], repeat: boolean): number => {
    if (typeof handler !== 'function') throw new TypeError(`${who}: the first argument must be a function`)
    if (queue.length >= MOST) throw new RangeError(`${who}: ${MOST} timers are waiting already, which is the most`)
    const wanted = Math.trunc(Number(delay))
    const ms = Math.min(wanted > 0 ? wanted : 0, LONGEST_MS)
    const everyMs = repeat ? Math.max(1, ms) : undefined
    const timer = {
      id: ++lastId,
      run: () => (handler as (...args: unknown[]) => unknown)(...args),
      everyMs,
      due: now() + (everyMs ?? ms),
    }
    insert(timer)
    arm()
    return timer.id
  }
  const clear = (id: unknown) => {
    const at = queue.findIndex((timer) => timer.id === Number(id))
    if (at < 0) return
    queue.splice(at, 1)
    arm()
  }

  onWake(() => {
    armedFor = Infinity
    const timer = queue[0]
    if (timer !== undefined && timer.due <= now()) {
      queue.shift()
      if (timer.everyMs !== undefined) {
        timer.due = now() + timer.everyMs
        insert(timer)
      }
      try {
        timer.run()
      } catch (error) {
        reportError(error)
      }
    }
    arm()
  })

  return {
    setTimeout: function setTimeout(handler: unknown, delay?: unknown, ...args: unknown[]) {
      return add('setTimeout', handler, delay, args, false)
    },
    setInterval: function setInterval(handler: unknown, delay?: unknown, ...args: unknown[]) {
      return add('setInterval', handler, delay, args, true)
    },
    clearTimeout: function clearTimeout(id?: unknown) {
      clear(id)
    },
    clearInterval: function clearInterval(id?: unknown) {
      clear(id)
    },
    queueMicrotask: function queueMicrotask(callback: unknown) {
      if (typeof callback !== 'function') throw new TypeError('queueMicrotask: the argument must be a function')
      const run = async () => {
        await Promise.resolve()
        try {
          ;(callback as () => void)()
        } catch (error) {
          reportError(error)
        }
      }
      void run()
    },
  }
}
