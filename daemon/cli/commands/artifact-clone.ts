/** Clones an artifact by its id with the system's Git, from the local node, after that fetched it from the nearest holder. */
import { spawn } from 'node:child_process'
import { appendFile, chmod, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type Artifact, ManyhandsError } from '../../../sdk/src/index.ts'
import type { Context } from '../context.ts'
import { safeLine } from '../terminal.ts'

const SCHEME = 'manyhands://'

/** The token in the clone's own settings lets later pulls and pushes work. */
export async function clone(context: Context, from: string, folder: string | undefined): Promise<undefined> {
  const { output, signal } = context
  const artifact = await find(context, from.startsWith(SCHEME) ? from.slice(SCHEME.length).replace(/\/+$/, '') : from)
  const { gitUrl, name, id } = artifact.view
  if (gitUrl === undefined)
    throw new ManyhandsError('E_CONFLICT', 'Cannot clone: this node has no loopback listener for Git', {
      hint: 'Start it with --port 0',
    })
  const target = folder ?? name
  await requireFree(target)
  const { id: tokenId, token } = await artifact.tokens.create({ name: 'clone' })
  try {
    const code = await git(['clone', '--origin', 'origin', '--', gitUrl, target], token, signal, output.io.writeErr)
    if (code !== 0)
      throw new ManyhandsError('E_OBJECT', `Cannot clone: git ended with exit code ${code}`, {
        hint: 'What git wrote says why',
      })
    await keepToken(target, gitUrl, token)
  } catch (error) {
    // There is no clone that could use it
    await artifact.tokens.revoke(tokenId).catch(() => undefined)
    throw error
  }
  await output.answer({ artifact: id, folder: target, url: gitUrl }, () => safeLine(target))
}

/** Git refuses it too, but only after a token was made. */
async function requireFree(folder: string): Promise<void> {
  const entries = await readdir(folder).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return []
    throw new ManyhandsError('E_CONFLICT', `Cannot clone into ${folder}: it is no folder that can be read`, {
      cause: error,
    })
  })
  if (entries.length > 0)
    throw new ManyhandsError('E_CONFLICT', `Cannot clone into ${folder}: something is there already`, {
      hint: 'Name another folder: manyhands artifact clone <artifact> <folder>',
    })
}

/** Into the clone's settings by file: an argument of a process could be read by every user of the host. */
async function keepToken(folder: string, url: string, token: string): Promise<void> {
  const config = join(folder, '.git', 'config')
  await chmod(config, 0o600)
  await appendFile(config, `[http "${url}"]\n\textraHeader = Authorization: Bearer ${token}\n`)
}

async function find({ mesh, output, signal }: Context, id: string): Promise<Artifact> {
  const { artifacts } = await mesh()
  if (!output.json) output.note('fetching from the nearest holder')
  try {
    return await artifacts.fetch(id, { signal })
  } catch (error) {
    // What this node holds is worth cloning also when nobody else can be asked
    const alone = error instanceof ManyhandsError && ['E_UNREACHABLE', 'E_TIMEOUT', 'E_NOT_FOUND'].includes(error.code)
    if (!alone) throw error
    return artifacts.get(id).catch(() => {
      throw error
    })
  }
}

/** The token travels in the environment, not in an argument. @throws the signal's reason, once git has ended */
function git(
  args: readonly string[],
  token: string,
  signal: AbortSignal,
  tell: (text: string) => void,
): Promise<number> {
  const env = {
    ...process.env,
    GIT_TERMINAL_PROMPT: '0',
    GIT_CONFIG_COUNT: '1',
    GIT_CONFIG_KEY_0: 'http.extraHeader',
    GIT_CONFIG_VALUE_0: `Authorization: Bearer ${token}`,
  }
  return new Promise((resolve, reject) => {
    const child = spawn('git', args, { env, stdio: ['ignore', 'ignore', 'pipe'], signal })
    child.stderr.on('data', (text: Buffer) => tell(text.toString('utf8')))
    child.once('error', (cause) => {
      if (signal.aborted) return
      const missing = 'code' in cause && cause.code === 'ENOENT'
      reject(
        missing
          ? new ManyhandsError('E_GIT_MISSING', 'Cannot clone: there is no git on this host', {
              hint: 'Install git',
              cause,
            })
          : cause,
      )
    })
    child.once('exit', () => {
      if (!signal.aborted) return
      // A helper of git that hangs on the network still holds the other end
      child.stderr.destroy()
      reject(signal.reason)
    })
    child.once('close', (code) => resolve(code ?? 1))
  })
}
