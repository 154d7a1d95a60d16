/** Audit lines on their way to the daemon: in batches, one on its way at a time, with a bound on what waits. What finds no room is counted and told. */
import { EGRESS_LIMITS } from '../../../protocol/egress/limits.ts'
import type { AuditLine, FromProxy } from './messages.ts'

export type Audit = (line: Omit<AuditLine, 'at'>) => void

const BATCH = 512

export class AuditSender {
  readonly #send: (message: FromProxy, sent: () => void) => void
  #waiting: AuditLine[] = []
  #lost = 0
  #sending = false

  constructor(send: (message: FromProxy, sent: () => void) => void) {
    this.#send = send
  }

  readonly add: Audit = (line) => {
    if (this.#waiting.length >= EGRESS_LIMITS.auditQueue) {
      this.#lost += 1
      return
    }
    this.#waiting.push({ ...line, ...cut('path', line.path), ...cut('note', line.note), at: Date.now() })
    if (!this.#sending) {
      this.#sending = true
      setImmediate(() => this.#flush())
    }
  }

  #flush(): void {
    const lines = this.#waiting.splice(0, BATCH)
    if (this.#lost > 0 && this.#waiting.length === 0) {
      lines.push({
        door: '',
        at: Date.now(),
        kind: 'lost',
        decision: 'failed',
        reason: 'lost',
        note: `${this.#lost} lines`,
      })
      this.#lost = 0
    }
    if (lines.length === 0) {
      this.#sending = false
      return
    }
    this.#send({ type: 'audit', lines }, () => this.#flush())
  }
}

const cut = (name: 'path' | 'note', value: string | undefined) =>
  value === undefined ? {} : { [name]: value.slice(0, EGRESS_LIMITS.auditText) }
