import { afterEach, describe, expect, test } from 'vitest'
import { type TaskNode, taskMesh } from '../../test/support/task-node.ts'
import { MemoryNetwork } from '../net/memory-net.ts'
import type { OrderResult } from './worker.ts'

const caller = { subject: 'local' }
const double = { source: 'export default (n) => n * 2' }
const open: TaskNode[] = []

afterEach(async () => {
  for (const node of open.splice(0)) await node.close()
})

/** Node a delegates; of b and c, whichever is asked first lies in all it sends, and the other one is honest. */
async function meshWithLiar(lie: (result: OrderResult) => Partial<OrderResult>) {
  const nodes = await taskMesh(new MemoryNetwork(), ['a', 'b', 'c'])
  open.push(...nodes)
  const [a, ...others] = nodes
  if (a === undefined) throw new Error('no nodes')
  let liar: string | undefined
  for (const { id, hands } of others) {
    const take = hands.take.bind(hands)
    hands.take = (order, events) => {
      liar ??= id
      const isLiar = liar === id
      return take(order, {
        ...events,
        onResult: (result) => events.onResult(isLiar ? { ...result, ...lie(result) } : result),
      })
    }
  }
  return { a, liar: () => liar ?? '' }
}

const forged = (receipt: string): string => {
  const envelope: { payload: string } = JSON.parse(receipt) as { payload: string }
  const payload = Buffer.from(envelope.payload, 'base64').toString().replace('"epoch":1', '"epoch":2')
  return JSON.stringify({ ...envelope, payload: Buffer.from(payload).toString('base64') })
}

describe('P2P-13 a member that lies about its result', () => {
  test.each<[string, (result: OrderResult) => Partial<OrderResult>]>([
    ['text that is no JSON', () => ({ output: '{no json' })],
    ['nothing', () => ({ output: '' })],
    ['more than the limit', () => ({ output: JSON.stringify('x'.repeat(2 << 20)) })],
    ['another output than its receipt says', () => ({ output: '9' })],
    ['pieces where there are none', () => ({ pieces: [{ ok: true, output: '1' }] })],
    ['no receipt', () => ({ receipt: '' })],
    ['a receipt that was changed', ({ receipt }) => ({ receipt: forged(receipt) })],
    ['an error its receipt does not tell of', () => ({ output: undefined, error: { code: 'E_GUEST', message: 'no' } })],
  ])('%s: refused and noted, another node does it, and every listing can be read', async (_name, lie) => {
    const { a, liar } = await meshWithLiar(lie)
    const task = await a.engine.run({ program: double, input: 4, requires: { on: 'other' } }, caller)
    const ended = await a.engine.ended(task.id)
    expect(ended).toMatchObject({ state: 'completed', output: 8 })
    expect(ended.lease?.node).not.toBe(liar())
    const refusals = a.notes.filter(({ facts }) => String(facts['code']).startsWith('E_PROTOCOL'))
    expect(refusals.map(({ facts }) => facts['node'])).toEqual([liar()])
    expect((await a.engine.list({ limit: 10 })).tasks).toHaveLength(1)
  })

  test.each<[string, (result: OrderResult) => Partial<OrderResult>]>([
    ['too few pieces', ({ pieces }) => ({ pieces: pieces.slice(1) })],
    ['too many pieces', ({ pieces }) => ({ pieces: [...pieces, ...pieces] })],
    ['a piece that is no JSON', ({ pieces }) => ({ pieces: pieces.map(() => ({ ok: true, output: 'no' })) })],
    ['pieces in another order', ({ pieces }) => ({ pieces: pieces.toReversed() })],
  ])('of a map, %s: the pieces are done by others', async (_name, lie) => {
    const { a, liar } = await meshWithLiar(lie)
    const inputs = [1, 2, 3, 4]
    const task = await a.engine.map({ program: double, inputs, pieceSize: 2, requires: { on: 'other' } }, caller)
    const ended = await a.engine.ended(task.id)
    expect(ended).toMatchObject({ state: 'completed', progress: { done: 4, failed: 0 } })
    expect(ended.progress?.byNode[liar()]).toBeUndefined()
    const { items } = await a.engine.results(task.id, 0, 10)
    expect(items).toEqual(inputs.map((n) => ({ ok: true, output: n * 2 })))
  })
})
