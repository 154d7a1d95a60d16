import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { logFile } from './log-file.ts'
import { createLogger } from './logger.ts'

let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'manyhands-log-'))
})

afterEach(() => rmSync(folder, { recursive: true, force: true }))

it('moves a file that has grown, and keeps it private', () => {
  const path = join(folder, 'state', 'daemon.log')
  const sink = logFile(path, 2000)
  const logger = createLogger({ level: 'info', sink })
  for (let i = 0; i < 100; i++) logger.info({ i }, 'a line of some length')
  sink.close()
  expect(statSync(path).size).toBeLessThanOrEqual(2000)
  expect(statSync(`${path}.1`).size).toBeLessThanOrEqual(2000)
  expect(statSync(path).mode & 0o777).toBe(0o600)
  expect(readFileSync(path, 'utf8').trimEnd().split('\n').at(-1)).toContain('"i":99')
})

it('goes on in a new file when somebody moved the old one away', () => {
  const path = join(folder, 'daemon.log')
  const sink = logFile(path, 100)
  sink.write(`${'x'.repeat(80)}\n`)
  rmSync(path)
  sink.write(`${'y'.repeat(80)}\n`)
  sink.close()
  expect(readFileSync(path, 'utf8')).toBe(`${'y'.repeat(80)}\n`)
})

it('writes nothing after its end, where its descriptor may be that of another file', () => {
  const sink = logFile(join(folder, 'daemon.log'), 100)
  sink.close()
  const other = openSync(join(folder, 'other'), 'w')
  sink.write('late\n')
  sink.close()
  expect(writeSync(other, 'mine')).toBe(4)
  closeSync(other)
  expect(readFileSync(join(folder, 'other'), 'utf8')).toBe('mine')
})

it('touches no file but its own when the old one cannot be moved', () => {
  const path = join(folder, 'daemon.log')
  mkdirSync(`${path}.1`)
  const sink = logFile(path, 100)
  for (let i = 0; i < 2; i++) sink.write(`${'x'.repeat(80)}\n`)
  const other = openSync(join(folder, 'other'), 'w')
  sink.write(`${'y'.repeat(80)}\n`)
  expect(writeSync(other, 'mine')).toBe(4)
  closeSync(other)
  sink.close()
  expect(readFileSync(join(folder, 'other'), 'utf8')).toBe('mine')
})
