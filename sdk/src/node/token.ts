/** Reads the token of the local API. A token that others can read or wrote proves nothing, so such a file is refused. */
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { ManyhandsError } from '../errors.ts'
import { LIMITS } from '../limits.ts'

/** @throws ManyhandsError E_NOT_RUNNING when there is none, E_INSECURE_FILE, E_FORBIDDEN */
export async function readToken(file: string): Promise<string> {
  const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW).catch((error: unknown) => {
    throw openError(file, error)
  })
  try {
    const stat = await handle.stat()
    const uid = process.getuid?.()
    // Root may use the node of another user; nobody else's token is ours
    const foreign = uid !== undefined && uid !== 0 && stat.uid !== uid
    if (!stat.isFile() || foreign || (process.platform !== 'win32' && (stat.mode & 0o077) !== 0)) {
      throw insecure(file, 'it can be read or changed by others')
    }
    if (stat.size > LIMITS.tokenBytes) throw insecure(file, `it is longer than ${LIMITS.tokenBytes} bytes`)
    const token = (await handle.readFile('utf8')).trim()
    if (!/^[\x21-\x7e]{16,}$/.test(token)) throw insecure(file, 'it holds no token')
    return token
  } finally {
    await handle.close()
  }
}

function insecure(file: string, why: string): ManyhandsError {
  return new ManyhandsError('E_INSECURE_FILE', `Cannot use the token file ${file}: ${why}`, {
    hint: 'Check who owns it; then: chmod 600 on it, or restart the daemon to have a new one written',
  })
}

function openError(file: string, error: unknown): ManyhandsError {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (code === 'EACCES') {
    return new ManyhandsError('E_FORBIDDEN', `Cannot read the token file ${file}: permission denied`, {
      hint: 'Use the daemon of your own user, or pass a token',
      cause: error,
    })
  }
  if (code === 'ELOOP') return insecure(file, 'it is a symbolic link')
  return new ManyhandsError('E_NOT_RUNNING', 'Cannot connect: no daemon has run here', {
    hint: 'Start it with: manyhands up',
    cause: error,
  })
}
