/**
 * Runs a command of the host in process and mount namespaces of its own: when it ends or is ended nothing of it goes on, whatever it started, and what
 * it mounted is gone with it. Root and util-linux are wanted.
 */
import { spawn } from 'node:child_process'
import { MeshError } from '../../../../protocol/errors.ts'
import { sealedStdio } from '../../../processes/sealed-stdio.ts'

export interface WholeCommand {
  readonly argv: readonly string[]
  /** Folder that is its root; the host's own when absent */
  readonly root?: string
  /** What is done, for "Cannot <action>" */
  readonly action: string
  /** Milliseconds */
  readonly timeoutMs: number
  readonly signal?: AbortSignal
  /** Folder of the host that is not told of: left out of all lines */
  readonly hidden?: string
  /** Each line it writes, at most `LINE` characters */
  line?(text: string): void
}

const ENVIRONMENT = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  HOME: '/root',
  LC_ALL: 'C',
  DEBIAN_FRONTEND: 'noninteractive',
  SOURCE_DATE_EPOCH: '0',
}
const LINE = 200
/** A line that does not end is cut here. */
const MAX_PENDING = 4_096

/** Pure: the arguments of `unshare`. */
export function wholeArguments({ argv, root }: Pick<WholeCommand, 'argv' | 'root'>): string[] {
  const inside = root === undefined ? [] : [`--root=${root}`, '--wd=/']
  return ['--mount', '--pid', '--fork', '--kill-child', ...inside, '--mount-proc', '--', ...argv]
}

/** @throws MeshError E_IMAGE with the last line that tells of an error, E_CANCELED when the signal ended it */
export function runWhole(command: WholeCommand): Promise<void> {
  const { action, signal, timeoutMs } = command
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(canceled(action))
    const child = spawn('unshare', wholeArguments(command), {
      stdio: sealedStdio(['ignore', 'pipe', 'pipe']),
      killSignal: 'SIGKILL',
      timeout: timeoutMs,
      env: ENVIRONMENT,
      ...(signal === undefined ? {} : { signal }),
    })
    let blame = ''
    const listen = (): ((part: Buffer) => void) =>
      lines((line) => {
        const text = (command.hidden === undefined ? line : line.replaceAll(command.hidden, '')).slice(0, LINE)
        if (text.startsWith('E:') || !blame.startsWith('E:')) blame = text
        command.line?.(text)
      })
    child.stdout?.on('data', listen())
    child.stderr?.on('data', listen())
    child.once('error', (error) => {
      // One that runs is still to be waited for.
      if (child.pid === undefined)
        reject(new MeshError('E_IMAGE', `Cannot ${action}: unshare was not found`, { cause: error }))
    })
    // All that it started hold its outputs: they are closed when the last is gone.
    child.once('close', (code, ending) => {
      if (code === 0) resolve()
      else if (signal?.aborted) reject(canceled(action))
      else if (ending === 'SIGKILL')
        reject(new MeshError('E_IMAGE', `Cannot ${action}: it took more than ${timeoutMs} ms`))
      else reject(new MeshError('E_IMAGE', `Cannot ${action}: it ended with ${code}: ${blame}`))
    })
  })
}

const canceled = (action: string): MeshError => new MeshError('E_CANCELED', `Cannot ${action}: it was canceled`)

function lines(take: (text: string) => void): (part: Buffer) => void {
  let pending = ''
  return (part) => {
    const parts = `${pending}${part.toString('utf8')}`.split(/[\r\n]+/)
    pending = (parts.pop() ?? '').slice(0, MAX_PENDING)
    for (const text of parts) if (text.trim() !== '') take(text.trim())
  }
}
