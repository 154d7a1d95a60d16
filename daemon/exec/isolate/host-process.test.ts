import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { HostProcess } from './host-process.ts'

/** A wrapper that is killed before it and what it has begun are bound to each other. */
function wrapperOf(begin: string): HostProcess {
  const command = { file: '/bin/sh', args: ['-c', `${begin} & exec sleep 60`], filter: undefined }
  return new HostProcess(command, { hungMs: 1_000, startMs: 10_000 }, () => undefined)
}

let folder = ''
const named = (name: string): string => join(folder, name)
const exists = (name: string) => expect.poll(() => existsSync(named(name)), { timeout: 10_000 })

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mh-host-'))
})
afterEach(() => rm(folder, { recursive: true }))

test('a process that cannot begin for want of open files is one that did not start, and no end of the daemon', async () => {
  const script = `
    import { closeSync, openSync } from 'node:fs'
    import { HostProcess } from '${new URL('host-process.ts', import.meta.url).href}'
    import { sealedStdio } from '${new URL('../../processes/sealed-stdio.ts', import.meta.url).href}'
    // As in a daemon that has begun others before
    sealedStdio(['ignore'])
    let last
    // until there are none left
    try { for (;;) last = openSync('/dev/null') } catch {}
    // To look at its own files takes one, to begin another process more
    closeSync(last)
    const command = { file: '/bin/true', args: [], filter: undefined }
    const host = new HostProcess(command, { hungMs: 1_000, startMs: 10_000 }, () => undefined)
    const up = await host.ready
    await host.exited
    console.log(JSON.stringify([up, host.alive]))`
  const args = ['-c', 'ulimit -n 64; exec "$0" --input-type=module -e "$1"', process.execPath, script]
  const { stdout } = await promisify(execFile)('/bin/sh', args)
  expect(JSON.parse(stdout)).toEqual([false, false])
})

test('what a wrapper began ends with it', async () => {
  const host = wrapperOf(`sh -c 'echo $$ > ${named('new')}; mv ${named('new')} ${named('pid')}; exec sleep 60'`)
  await exists('pid').toBe(true)
  host.kill()
  await host.exited
  expect(host.alive).toBe(false)
  const pid = (await readFile(named('pid'), 'utf8')).trim()
  await expect.poll(() => stateOf(pid)).not.toMatch(/[RSDT]/)
})

test('what a wrapper began in a session of its own hears nobody any more, once the wrapper is killed', async () => {
  const script = `touch ${named('began')}; cat <&3 >/dev/null; touch ${named('left')}`
  const host = wrapperOf(`setsid sh -c '${script}'`)
  await exists('began').toBe(true)
  host.kill()
  await host.exited
  await exists('left').toBe(true)
})

/** One letter; a process that nobody has asked for yet is a zombie, "Z". */
function stateOf(pid: string): string {
  try {
    return /\) (\w)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1] ?? ''
  } catch {
    return ''
  }
}
