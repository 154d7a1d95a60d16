/** The frames of a V8 stack that lie in a guest's own modules. Pure: everything else (runtime, host, forged lines) is dropped. */

export interface Position {
  readonly file: string
  /** 1-based */
  readonly line: number
  /** 1-based */
  readonly column: number
}

export interface Frame extends Position {
  /** The frame as V8 wrote it, bounded */
  readonly text: string
}

const MOST_FRAMES = 20
const LINE_BYTES = 300
/** Names of modules hold neither spaces, colons nor parentheses, so this cannot run into what surrounds them. */
const FRAME = /^ {4}at (?:(.+) \()?([^\s():]+):(\d{1,9}):(\d{1,9})\)?$/

export function guestFrames(stack: string, names: ReadonlySet<string>): Frame[] {
  const frames: Frame[] = []
  for (const line of stack.slice(0, 65_536).split('\n')) {
    const [, where, file, row, column] = FRAME.exec(line.replace('at async ', 'at ')) ?? []
    if (file === undefined || !names.has(file)) continue
    // A function's name is the guest's to choose: one that holds a path or another odd character is left out.
    const named =
      where !== undefined && /^[\w$.<>[\] #]+$/.test(where)
        ? `${where} (${file}:${row}:${column})`
        : `${file}:${row}:${column}`
    frames.push({ file, line: Number(row), column: Number(column), text: `    at ${named}`.slice(0, LINE_BYTES) })
    if (frames.length === MOST_FRAMES) break
  }
  return frames
}
