import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { freezerAt, freezerFiles } from './standstill.ts'

const ID = 'c0ffee'.padEnd(64, '0')

describe('the freezer of a container', () => {
  it('is found in either kind of hierarchy', () => {
    const v1 = `5:pids:/docker/${ID}\n3:freezer:/docker/${ID}\n0::/\n`
    expect(freezerFiles(v1, ID)?.control).toBe(`/sys/fs/cgroup/freezer/docker/${ID}/freezer.state`)
    const v2 = freezerFiles(`0::/system.slice/docker-${ID}.scope\n`, ID)
    expect(v2?.control).toBe(`/sys/fs/cgroup/system.slice/docker-${ID}.scope/cgroup.freeze`)
  })

  it.each([
    ['of another container, as of a process that has its id now', `3:freezer:/docker/${'d'.repeat(64)}\n`],
    ['of the host', '3:freezer:/\n0::/\n'],
    ['that holds other things too', `0::/docker-${ID}.scope/inner\n`],
    ['that nothing tells', ''],
  ])('is none %s', (_, table) => expect(freezerFiles(table, ID)).toBeUndefined())

  it('is none for what is no id', () => expect(freezerFiles('3:freezer:/docker/\n', '')).toBeUndefined())
})

describe('standing still', () => {
  const folders: string[] = []
  const place = (state: string): string => {
    const folder = mkdtempSync(join(tmpdir(), 'mh-freezer-'))
    folders.push(folder)
    writeFileSync(join(folder, 'control'), '')
    writeFileSync(join(folder, 'state'), state)
    return folder
  }
  const at = (folder: string) =>
    freezerAt({
      ...{ control: join(folder, 'control'), state: join(folder, 'state') },
      ...{ on: '1', off: '0', stands: /^frozen 1$/m },
    })
  afterEach(() => {
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true })
  })

  it('is told once every task stands, and given up when one does not come to stand', async () => {
    const good = place('populated 1\nfrozen 1\n')
    expect(await at(good).freeze()).toBe(true)
    expect(readFileSync(join(good, 'control'), 'utf8')).toBe('1')
    const bad = place('populated 1\nfrozen 0\n')
    expect(await at(bad).freeze()).toBe(false)
    expect(readFileSync(join(bad, 'control'), 'utf8')).toBe('0')
  })

  it('makes nothing where the cgroup is gone', async () => {
    const folder = place('')
    rmSync(join(folder, 'control'))
    expect([await at(folder).freeze(), await at(folder).thaw()]).toEqual([false, false])
    expect(() => readFileSync(join(folder, 'control'))).toThrow()
  })
})
