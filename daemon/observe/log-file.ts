/** Where log lines go: standard error, or a file that is moved to `<name>.1` when it has grown to its size. So logs hold at most twice that. */
import { closeSync, constants, fchmodSync, fstatSync, mkdirSync, openSync, renameSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { isMissing } from '../files/is-missing.ts'

export interface LogSink {
  /** After `close` nothing is written any more. */
  write(line: string): void
  /** May be called again. */
  close(): void
}

/**
 * Appends whole lines. Writes are synchronous: lines are few, short and bounded, and those before a crash are the ones that matter.
 * A failing disk must not end the daemon: lines that cannot be written are dropped.
 */
export function logFile(path: string, maxBytes: number): LogSink {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  let fd: number | undefined = open(path)
  let size = fstatSync(fd).size
  return {
    write(line) {
      // Its number may be that of another file by now
      if (fd === undefined) return
      try {
        if (size > 0 && size + line.length > maxBytes) {
          const full = fd
          moveAside(path)
          // Closed last: were it closed and nothing opened, its number would soon be that of another file
          fd = open(path)
          size = 0
          closeSync(full)
        }
        size += writeSync(fd, line)
      } catch {
        // Reported by the journal's health on the same disk; a logger cannot log its own failure
      }
    },
    close() {
      if (fd !== undefined) closeSync(fd)
      fd = undefined
    },
  }
}

export function standardError(): LogSink {
  return { write: (line) => void process.stderr.write(line), close: () => undefined }
}

/** Somebody else may have moved it already. */
function moveAside(path: string): void {
  try {
    renameSync(path, `${path}.1`)
  } catch (error) {
    if (!isMissing(error)) throw error
  }
}

function open(path: string): number {
  const fd = openSync(path, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW, 0o600)
  fchmodSync(fd, 0o600)
  return fd
}
