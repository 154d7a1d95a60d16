import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { Level } from 'level'
import { expect, test } from 'vitest'
import { sealedStdio, type StdioEntry } from './sealed-stdio.ts'

const MODULE = new URL('./sealed-stdio.ts', import.meta.url).href

/** What a child finds open besides its three, by target. */
async function foundBy(stdio: readonly StdioEntry[]): Promise<string[]> {
  const child = spawn('ls', ['-l', '/proc/self/fd'], { stdio: [...stdio] })
  if (child.stdout === null) throw new Error('no output')
  const entries = (await text(child.stdout)).matchAll(/ (\d+) -> (.*)$/gm)
  return [...entries]
    .filter(([, number, target]) => Number(number) > 2 && !/^[/]proc[/]\d+[/]fd$/.test(target ?? ''))
    .map(([, , target]) => target ?? '')
}

test('a child inherits nothing that was not opened for it, not even what a database left open', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'manyhands-sealed-'))
  const database = new Level(join(folder, 'db'))
  try {
    await database.put('secret', 'x')
    const plain: StdioEntry[] = ['ignore', 'pipe', 'ignore']
    // Else the test would pass where there is nothing to keep out.
    expect((await foundBy(plain)).some((target) => target.startsWith(folder))).toBe(true)
    const found = await foundBy(sealedStdio(plain))
    expect(found.filter((target) => target !== '/dev/null')).toEqual([])
  } finally {
    await database.close()
    rmSync(folder, { recursive: true, force: true })
  }
})

test('entries keep their places', () => {
  expect(sealedStdio(['ignore', 'pipe', 'ipc']).slice(0, 3)).toEqual(['ignore', 'pipe', 'ipc'])
})

test('a daemon closes what its children would find of what it was started with, and its three stay', async () => {
  const tell = 'try { fs.fstatSync(40); console.log("open") } catch { console.log("closed") }'
  const script = `import fs from 'node:fs'; import { closeInherited } from '${MODULE}'; ${tell}; closeInherited(); ${tell}`
  // Node itself keeps the first ones from its children
  const inherited: StdioEntry[] = [
    'ignore',
    'pipe',
    'ignore',
    ...Array.from({ length: 37 }, () => 'ignore' as const),
    'pipe',
  ]
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: inherited })
  if (child.stdout === null) throw new Error('no output')
  expect(await text(child.stdout)).toBe('open\nclosed\n')
})
