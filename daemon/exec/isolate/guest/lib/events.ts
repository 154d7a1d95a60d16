/** Event, CustomEvent and EventTarget (DOM 2) without a tree: the path of an event is its target. */
import type { Realm } from '../realm.ts'
import { exposeInterface, needArguments, reportError } from './web-idl.ts'

interface Listener {
  readonly callback: unknown
  readonly capture: boolean
  readonly once: boolean
  readonly passive: boolean
  removed: boolean
}
interface ListenerOptions {
  capture?: unknown
  once?: unknown
  passive?: unknown
  signal?: AbortSignal
}
/** What dispatch needs of an event, and programs may not touch. */
interface EventState {
  target: unknown
  currentTarget: unknown
  phase: number
  stopped: boolean
  stoppedAtOnce: boolean
  canceled: boolean
  passive: boolean
  dispatching: boolean
}

const PHASES = { NONE: 0, CAPTURING_PHASE: 1, AT_TARGET: 2, BUBBLING_PHASE: 3 }

export default (realm: Realm) => {
  let stateOf: (event: Event) => EventState

  class Event {
    #type: string
    #bubbles: boolean
    #cancelable: boolean
    #composed: boolean
    readonly #timeStamp = realm.elapsed()
    readonly #state: EventState = {
      target: null,
      currentTarget: null,
      phase: 0,
      stopped: false,
      stoppedAtOnce: false,
      canceled: false,
      passive: false,
      dispatching: false,
    }

    static {
      stateOf = (event) => event.#state
    }

    constructor(type: unknown, init?: { bubbles?: unknown; cancelable?: unknown; composed?: unknown }) {
      needArguments(arguments.length, 1, 'Event constructor')
      this.#type = `${type}`
      this.#bubbles = Boolean(init?.bubbles)
      this.#cancelable = Boolean(init?.cancelable)
      this.#composed = Boolean(init?.composed)
    }
    get type() {
      return this.#type
    }
    get bubbles() {
      return this.#bubbles
    }
    get cancelable() {
      return this.#cancelable
    }
    get composed() {
      return this.#composed
    }
    get timeStamp() {
      return this.#timeStamp
    }
    get target() {
      return this.#state.target
    }
    get srcElement() {
      return this.#state.target
    }
    get currentTarget() {
      return this.#state.currentTarget
    }
    get eventPhase() {
      return this.#state.phase
    }
    get defaultPrevented() {
      return this.#state.canceled
    }
    get returnValue() {
      return !this.#state.canceled
    }
    set returnValue(value) {
      if (!value) this.preventDefault()
    }
    get cancelBubble() {
      return this.#state.stopped
    }
    set cancelBubble(value) {
      if (value) this.#state.stopped = true
    }
    get isTrusted() {
      return false
    }
    composedPath(): unknown[] {
      return this.#state.currentTarget === null ? [] : [this.#state.currentTarget]
    }
    preventDefault() {
      if (this.#cancelable && !this.#state.passive) this.#state.canceled = true
    }
    stopPropagation() {
      this.#state.stopped = true
    }
    stopImmediatePropagation() {
      this.#state.stopped = this.#state.stoppedAtOnce = true
    }
    initEvent(type: unknown, bubbles?: unknown, cancelable?: unknown) {
      if (this.#state.dispatching) return
      Object.assign(this.#state, { canceled: false, stopped: false, stoppedAtOnce: false, target: null })
      this.#type = `${type}`
      this.#bubbles = Boolean(bubbles)
      this.#cancelable = Boolean(cancelable)
    }
  }

  class CustomEvent extends Event {
    readonly #detail: unknown
    constructor(
      type: unknown,
      init?: { detail?: unknown; bubbles?: unknown; cancelable?: unknown; composed?: unknown },
    ) {
      needArguments(arguments.length, 1, 'CustomEvent constructor')
      super(type, init)
      this.#detail = init?.detail ?? null
    }
    get detail() {
      return this.#detail
    }
  }

  class EventTarget {
    readonly #listeners = new Map<string, Listener[]>()

    addEventListener(type: unknown, callback: unknown, options?: ListenerOptions | boolean) {
      needArguments(arguments.length, 2, 'addEventListener')
      if (callback !== null && callback !== undefined && typeof callback !== 'function' && typeof callback !== 'object')
        throw new TypeError('addEventListener: the listener must be a function or an object with handleEvent')
      const given = typeof options === 'object' && options !== null ? options : { capture: options }
      const { signal } = given
      if (signal !== undefined && !(signal instanceof AbortSignal))
        throw new TypeError('addEventListener: options.signal is not an AbortSignal')
      if (callback === null || callback === undefined || signal?.aborted) return
      const key = `${type}`
      const listeners = this.#listeners.get(key) ?? []
      const capture = Boolean(given.capture)
      if (listeners.some((l) => l.callback === callback && l.capture === capture)) return
      const listener = { callback, capture, once: Boolean(given.once), passive: Boolean(given.passive), removed: false }
      this.#listeners.set(key, [...listeners, listener])
      signal?.addEventListener('abort', () => this.removeEventListener(key, callback, capture), { once: true })
    }

    removeEventListener(type: unknown, callback: unknown, options?: ListenerOptions | boolean) {
      needArguments(arguments.length, 2, 'removeEventListener')
      const capture = Boolean(typeof options === 'object' && options !== null ? options.capture : options)
      const listeners = this.#listeners.get(`${type}`)
      const listener = listeners?.find((l) => l.callback === callback && l.capture === capture)
      if (listeners === undefined || listener === undefined) return
      listener.removed = true
      this.#listeners.set(
        `${type}`,
        listeners.filter((l) => l !== listener),
      )
    }

    dispatchEvent(event: Event): boolean {
      needArguments(arguments.length, 1, 'dispatchEvent')
      if (!(event instanceof Event)) throw new TypeError('dispatchEvent: the argument is not an Event')
      const state = stateOf(event)
      if (state.dispatching) throw new DOMException('The event is being dispatched already', 'InvalidStateError')
      Object.assign(state, { dispatching: true, target: this, currentTarget: this, phase: PHASES.AT_TARGET })
      // Lists are replaced, never changed, so this one stays as it was when dispatch began.
      const listeners = this.#listeners.get(event.type) ?? []
      for (const capture of [true, false]) if (!state.stopped) this.#invoke(event, state, listeners, capture)
      Object.assign(state, {
        dispatching: false,
        currentTarget: null,
        phase: PHASES.NONE,
        stopped: false,
        stoppedAtOnce: false,
      })
      return !state.canceled
    }

    #invoke(event: Event, state: EventState, listeners: readonly Listener[], capture: boolean) {
      for (const listener of listeners) {
        if (listener.capture !== capture || listener.removed) continue
        if (listener.once) this.removeEventListener(event.type, listener.callback, capture)
        state.passive = listener.passive
        try {
          const { callback } = listener
          if (typeof callback === 'function') callback.call(this, event)
          else (callback as { handleEvent(event: Event): void }).handleEvent(event)
        } catch (error) {
          reportError(error)
        }
        state.passive = false
        if (state.stoppedAtOnce) return
      }
    }
  }

  for (const type of [Event, CustomEvent, EventTarget]) exposeInterface(type)
  for (const [name, value] of Object.entries(PHASES)) {
    Object.defineProperty(Event, name, { value, enumerable: true })
    Object.defineProperty(Event.prototype, name, { value, enumerable: true })
  }
  return { Event, CustomEvent, EventTarget }
}
