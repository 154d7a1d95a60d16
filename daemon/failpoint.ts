/**
 * Named points in the code where a test can make the daemon die or fail, so that every crash window is visited on purpose and not by luck.
 *
 * `MANYHANDS_FAILPOINT=<name>:<action>[:<hit>]` arms one point (several: separated by commas); it is read once, when the process starts.
 * `kill` ends the process with SIGKILL on the spot; `error` throws what a failing disk would. `hit` counts from 1 (the default): the point
 * acts at that passage and never again. Unset, a point is a call of an empty function.
 */
export const FAILPOINTS = {
  'journal.init.after-store': 'a new store exists, its mark does not',
  'journal.before-batch': 'a batch is encoded, nothing of it is written',
  'journal.after-batch': 'a batch is synced, nobody was told',
  'journal.before-mark': 'a batch is acknowledged, the mark does not cover it',
  'journal.after-mark': 'the mark covers the last batch',
  'journal.trim.after-base': 'the new base is synced, the old records are still there',
  'journal.recover.before-undo': 'the store is open again, a refused batch is still in it',
  'journal.before-close': 'everything is acknowledged, the store is still open',
  'artifact.fetch.before-adopt': 'records and objects of a peer are checked and in a quarantine',
  'artifact.before-objects': 'a transaction was decided, nothing of it is on disk',
  'artifact.after-objects': 'staged objects are in the repository, no ref names them',
  'artifact.after-append': 'refs moved in the journal, the repository does not say so yet',
  'artifact.after-pack': 'new objects are in the repository, its refs are the old ones',
  'artifact.after-refs': 'the repository says what the journal says',
  'artifact.settle.after-pack': 'objects are synced twice: in the journal and in the repository',
  'artifact.settle.after-append': 'the journal answers for nothing more, small packs are still there',
  'artifact.remove.after-append': 'an artifact is gone from the journal, its files are not',
  'lfs.received': 'a large file is whole, checked and synced, among those that come in',
  'lfs.kept': 'a large file is in its place, no row says so',
} as const satisfies Record<string, string>

export type FailpointName = keyof typeof FAILPOINTS

interface Armed {
  readonly action: 'kill' | 'error'
  /** Passages left before it acts */
  left: number
}

/** What the variable arms. @throws TypeError when it names no point or action: a test with a typing error must not pass */
export function parseFailpoints(text: string): Map<string, Armed> {
  const armed = new Map<string, Armed>()
  for (const part of text.split(',')) {
    const [name = '', action, hit = '1'] = part.split(':')
    if (!Object.hasOwn(FAILPOINTS, name) || (action !== 'kill' && action !== 'error') || !/^[1-9]\d{0,8}$/.test(hit)) {
      throw new TypeError(
        `Cannot arm a failpoint: '${part}' is not <name>:<kill|error>[:<hit>] with a name of the table`,
      )
    }
    armed.set(name, { action, left: Number(hit) })
  }
  return armed
}

function firing(armed: Map<string, Armed>): (name: FailpointName) => void {
  return (name) => {
    const point = armed.get(name)
    if (point === undefined || --point.left !== 0) return
    if (point.action === 'kill') process.kill(process.pid, 'SIGKILL')
    throw Object.assign(new Error(`failpoint ${name}`), { code: 'EIO' })
  }
}

const variable = process.env.MANYHANDS_FAILPOINT

/** Marks a point of {@link FAILPOINTS}. @throws Error with code EIO when armed with `error` */
export const failpoint: (name: FailpointName) => void = variable ? firing(parseFailpoints(variable)) : () => {}
