import { closeSync, openSync, readFileSync, readSync } from 'node:fs'

/** Size of a page and length of a clock tick as /proc counts them; the same on every Linux this runs on. */
const PAGE_BYTES = 4096
const TICK_MS = 10

export interface ProcessUse {
  readonly residentBytes: number
  /** Since the process began, all threads, steps of 10 ms */
  readonly cpuMs: number
}

/** Reads what a process uses from /proc, cheaply enough to do it every few milliseconds (about 10 us). */
export class ProcessSampler {
  readonly pid: number
  readonly #statm: number
  readonly #stat: number
  readonly #buffer = Buffer.alloc(1024)
  #open = true

  /** @throws Error when there is no such process */
  constructor(pid: number) {
    this.pid = pid
    this.#statm = openSync(`/proc/${pid}/statm`, 'r')
    try {
      this.#stat = openSync(`/proc/${pid}/stat`, 'r')
    } catch (error) {
      closeSync(this.#statm)
      throw error
    }
  }

  /** Undefined once the process is gone. */
  sample(): ProcessUse | undefined {
    if (!this.#open) return undefined
    try {
      const [, resident] = this.#read(this.#statm).split(' ')
      const stat = this.#read(this.#stat)
      // the second field, the name, is in parentheses and may hold anything
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      return {
        residentBytes: Number(resident) * PAGE_BYTES,
        cpuMs: (Number(fields[11]) + Number(fields[12])) * TICK_MS,
      }
    } catch {
      return undefined
    }
  }

  close(): void {
    if (!this.#open) return
    this.#open = false
    closeSync(this.#statm)
    closeSync(this.#stat)
  }

  #read(file: number): string {
    return this.#buffer.toString('latin1', 0, readSync(file, this.#buffer, 0, this.#buffer.length, 0))
  }
}

/** The process at the end of a chain of wrappers, each of which has one child: shell or namespace tool, then the program. */
export function innermostProcess(pid: number): number {
  for (let depth = 0; depth < 8; depth++) {
    const [child] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')
    if (child === undefined || child === '') return pid
    pid = Number(child)
  }
  return pid
}
