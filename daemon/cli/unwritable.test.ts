import { closeSync, openSync, writeSync } from 'node:fs'
import { expect, it } from 'vitest'
import { failureText, tellFailure } from './failure.ts'
import { Output, processIo } from './io.ts'
import { notAllowed, unwritable } from './unwritable.ts'

/** What the system says of a full disk. */
function full(): unknown {
  const file = openSync('/dev/full', 'w')
  try {
    return writeSync(file, 'x')
  } catch (error) {
    return error
  } finally {
    closeSync(file)
  }
}

it('a disk that takes no more is E_STORAGE, with the file and the reason alone', () => {
  const error = unwritable(full(), '/some/file')
  expect(error && failureText(error)).toBe(
    'error: Cannot write /some/file: no space left on device [E_STORAGE]\nhint: Free space there, or name another place',
  )
  for (const code of ['ENOENT', 'EACCES']) expect(unwritable(Object.assign(new Error(), { code }))).toBeUndefined()
  expect(unwritable('text')).toBeUndefined()
})

it('what this user may not use is told with its path and what to do, and names the path of a read-only disk too', () => {
  const refused = (code: string) =>
    Object.assign(new Error(`${code}: why, mkdir '/n/state'`), { code, path: '/n/state' })
  const told = notAllowed(refused('EACCES'))
  expect(told && failureText(told)).toMatch(
    /^error: Cannot use \/n\/state: permission denied \[E_FORBIDDEN\]\nhint: Check whose it is/,
  )
  expect(unwritable(refused('EROFS'))?.message).toBe('Cannot write /n/state: why')
  expect(notAllowed(refused('ENOENT'))).toBeUndefined()
})

it('is told so wherever a command did not expect it', async () => {
  let told = ''
  const output = new Output({ ...processIo(), writeErr: (text) => void (told += text) }, false)
  expect(await tellFailure(full(), output)).toBe(74)
  expect(told).toMatch(/^error: Cannot write a file: no space left on device \[E_STORAGE\]\nhint: /)
})
