/** What the processes of a whole node hold open: nothing of the node itself. THREATS ISO-20. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { afterEach, expect, test } from 'vitest'
import { RealMesh, type RealNode } from '../support/real-mesh.ts'

let mesh: RealMesh | undefined
afterEach(() => mesh?.close())

function childrenOf(pid: number): number[] {
  const parents = new Map<number, number>()
  for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      parents.set(Number(name), Number(/^PPid:\s*(\d+)$/m.exec(readFileSync(`/proc/${name}/status`, 'utf8'))?.[1]))
    } catch {
      // it ended meanwhile
    }
  }
  const found: number[] = []
  for (const waiting = [pid]; waiting.length > 0; ) {
    const next = waiting.pop()
    const children = [...parents].filter(([, parent]) => parent === next).map(([child]) => child)
    found.push(...children)
    waiting.push(...children)
  }
  return found
}

/** Files of `home` that a process holds open. Undefined: not ours to look at, or gone. */
function heldBy(pid: number, home: string): string[] | undefined {
  try {
    const targets = readdirSync(`/proc/${pid}/fd`).map((number) => readlinkSync(`/proc/${pid}/fd/${number}`))
    return targets.filter((target) => target.startsWith(home))
  } catch {
    return undefined
  }
}

test('ISO-20: guests, Git and the door find nothing open that is the node’s', async () => {
  mesh = await RealMesh.start({ name: 'alice' })
  const [alice] = mesh.nodes as [RealNode]
  const sdk = await alice.sdk()
  // An isolate at work, a Git process that is kept, and the door that a request goes through
  const session = await sdk.session('export default (n) => n')
  expect(await session.call(1)).toBe(1)
  const notes = await sdk.artifacts.create({ name: 'notes' })
  await notes.commit({ files: [{ path: 'a.txt', text: 'one' }], message: 'first' })
  expect(Buffer.from(await notes.read('a.txt')).toString()).toBe('one')
  await sdk.run('export default () => fetch("http://127.0.0.1:1/").catch(() => null)')
  expect(heldBy(alice.pid, alice.home)?.some((path) => path.includes('/journal/'))).toBe(true)
  const looked = childrenOf(alice.pid).map((pid) => ({
    program: readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0')[0],
    held: heldBy(pid, alice.home)?.filter((path) => !path.includes('/artifacts/')),
  }))
  expect(looked.filter(({ held }) => held !== undefined).length).toBeGreaterThan(2)
  expect(looked.filter(({ held }) => (held ?? []).length > 0)).toEqual([])
  await session.close()
})
