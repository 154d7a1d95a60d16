import { expect, test } from 'vitest'
import { taskMesh } from '../../test/support/task-node.ts'
import { MemoryNetwork } from '../net/memory-net.ts'
import { RecentTasks } from './recent-tasks.ts'

const idsIn = (recent: RecentTasks<{ weight: number }>, count: number): number[] =>
  Array.from({ length: count }, (_, id) => id).filter((id) => recent.get(`${id}`) !== undefined)

test('few tasks are kept, and of large ones only as many as weigh little together; the newest always', () => {
  const small = new RecentTasks()
  for (let id = 0; id < 600; id++) small.add(`${id}`, { weight: 10 })
  expect(idsIn(small, 600)).toEqual(Array.from({ length: 500 }, (_, n) => 100 + n))
  const large = new RecentTasks()
  for (let id = 0; id < 40; id++) large.add(`${id}`, { weight: 8 << 20 })
  expect(idsIn(large, 40)).toEqual([37, 38, 39])
  large.add('40', { weight: 1 << 30 })
  large.add('41', { weight: 1 })
  expect(idsIn(large, 42)).toEqual([41])
})

test('a task weighs what it was given, what came of it, and what it logged', async () => {
  const [node] = await taskMesh(new MemoryNetwork(), ['a'])
  if (node === undefined) throw new Error('no node')
  try {
    const run = async (chars: number): Promise<string> => {
      const request = { program: { source: `export default (n) => 'x'.repeat(n)` }, input: chars }
      const task = await node.engine.ended((await node.engine.run(request, { subject: 'local' })).id)
      expect(task.state).toBe('completed')
      return task.id
    }
    const eventsOf = (id: string): Promise<string[]> =>
      new Promise((resolve) => {
        const types: string[] = []
        node.engine.watch(id, 0, (_, { type }) => {
          types.push(type)
          if (type === 'end') resolve(types)
        })
      })
    const first = await run(1)
    const all = await eventsOf(first)
    expect(all.length).toBeGreaterThan(1)
    for (let count = 0; count < 16; count++) await run(1_000_000)
    expect(await eventsOf(first)).toEqual(all)
    for (let count = 0; count < 2; count++) await run(1_000_000)
    // Its events are gone, its end is not
    expect(await eventsOf(first)).toEqual(['end'])
  } finally {
    await node.close()
  }
})
