/** Makes a new sandbox's workspace a clone of its artifact, with the image's own Git: nothing from outside writes Git's files. */
import type { ExecEnd } from '../../protocol/api-sandboxes.ts'
import { ARTIFACTS_HOST } from '../../protocol/egress/host.ts'
import { MeshError } from '../../protocol/errors.ts'
import type { OpPlace } from './op-link.ts'

export interface Filling {
  readonly place: OpPlace
  /** The sandbox's id there */
  readonly at: string
  readonly artifact: { readonly name: string; readonly branch: string }
  /** Author of commits made inside, unless others are named */
  readonly subject: string
  readonly signal: AbortSignal
}

/** For one command of Git, milliseconds */
const COMMAND_MS = 10 * 60_000
const OUTPUT_BYTES = 4 << 10
const ENV = { GIT_TERMINAL_PROMPT: '0', LC_ALL: 'C' }

interface Ran {
  readonly end: ExecEnd | undefined
  /** The end of both outputs */
  readonly text: string
}

/** @throws MeshError E_IMAGE without Git in the image; E_EGRESS, E_DISK when Git could not do it */
export async function fillWorkspace(filling: Filling): Promise<void> {
  const { artifact, subject } = filling
  const { name, branch } = artifact
  const version = await git(filling, '--version')
  if (!wentWell(version))
    throw new MeshError('E_IMAGE', 'Cannot fill the workspace: the image has no working Git', {
      hint: 'Use an image with git in it, or make the sandbox without an artifact and copy files in',
    })
  await must(filling, 'init', '-q')
  await must(filling, 'symbolic-ref', 'HEAD', `refs/heads/${branch}`)
  await must(filling, 'config', 'user.name', subject)
  await must(filling, 'config', 'user.email', `${subject.slice(subject.indexOf('/') + 1)}@sandbox.manyhands`)
  await must(filling, 'remote', 'add', 'origin', `http://${ARTIFACTS_HOST}/${name}.git`)
  await must(filling, 'config', `branch.${branch}.remote`, 'origin')
  await must(filling, 'config', `branch.${branch}.merge`, `refs/heads/${branch}`)
  await must(filling, 'fetch', '-q', 'origin')
  const upstream = `refs/remotes/origin/${branch}`
  // An artifact without a commit yet has nothing to check out
  if (wentWell(await git(filling, 'rev-parse', '-q', '--verify', upstream)))
    await must(filling, 'reset', '-q', '--hard', upstream)
}

async function must(filling: Filling, ...args: readonly string[]): Promise<void> {
  const ran = await git(filling, ...args)
  if (wentWell(ran)) return
  if (ran.end?.reason === 'disk' || /no space left|disk quota/i.test(ran.text))
    throw new MeshError('E_DISK', 'Cannot fill the workspace: the artifact does not fit', {
      hint: 'Raise limits.diskBytes',
    })
  const why = ran.text
    .replaceAll(/[^\x20-\x7e]+/g, ' ')
    .trim()
    .slice(-300)
  throw new MeshError('E_EGRESS', `Cannot fill the workspace: git ${args[0]} failed${why === '' ? '' : `: ${why}`}`)
}

const wentWell = ({ end }: Ran): boolean => end?.reason === 'exit' && end.code === 0

async function git({ place, at, signal }: Filling, ...args: readonly string[]): Promise<Ran> {
  let text = ''
  const { end } = await place.run(
    { op: 'exec', sandbox: at, argv: ['git', ...args], env: ENV, timeoutMs: COMMAND_MS },
    {
      send: async (_lane, bytes) => {
        text = (text + Buffer.from(bytes).toString('latin1')).slice(-OUTPUT_BYTES)
      },
      finish: () => undefined,
      receive: () => undefined,
      signal,
    },
  )
  return { end, text }
}
