import { expect, it } from 'vitest'
import { MeshError } from '../../protocol/errors.ts'
import type { OpenDoor } from '../egress/egress.ts'
import { Doors } from './doors.ts'

const guest = {
  features: { ports: true },
  files: { write: async () => undefined },
  listen: async () => ({ close: () => undefined }),
}

function doorsOf(refusals: number) {
  const open = new Set<string>()
  let made = 0
  const make = async (): Promise<OpenDoor> => {
    const name = `door${++made}`
    await Promise.resolve()
    if (made <= refusals) throw new MeshError('E_EGRESS', 'Cannot open a door: the proxy is being started again')
    open.add(name)
    return {
      ...{ env: { DOOR: name }, files: [], caPem: '', placeholders: {}, subject: {}, socketPath: '' },
      lead: async () => undefined,
      close: async () => void open.delete(name),
    }
  }
  const doors = new Doors({
    egress: { open: make, leadHome: make },
    self: 'self',
    artifacts: () => () => undefined,
    warn: () => undefined,
  })
  return { doors, open }
}

const boxOf = (owner: string) => ({
  id: 'box',
  view: () => ({ owner, grade: 'gvisor' as const, name: undefined }),
  hostPid: () => undefined,
})

it('a door that did not open is tried again with the next command', async () => {
  const { doors, open } = doorsOf(1)
  const together = await Promise.all([doors.ready(boxOf('self'), guest), doors.ready(boxOf('self'), guest)])
  expect(together).toEqual([{}, {}])
  expect(await doors.ready(boxOf('self'), guest)).toEqual({ DOOR: 'door2' })
  expect(await doors.ready(boxOf('self'), guest)).toEqual({ DOOR: 'door2' })
  await doors.forget('box')
  expect(open.size).toBe(0)
})

it('of doors that are lent at the same time the last is kept and every other closed', async () => {
  const { doors, open } = doorsOf(1)
  const box = boxOf('peer')
  const ticket = { id: 't', kit: { env: {}, files: [], caPem: '', placeholders: {} } }
  expect(await doors.ready(box, guest)).toEqual({})
  await Promise.all(Array.from({ length: 5 }, () => doors.lent(box, 'peer', ticket)))
  expect([...open]).toEqual(['door5'])
  expect(await doors.ready(box, guest)).toEqual({ DOOR: 'door5' })
  await doors.close()
  expect(open.size).toBe(0)
})

it('a command waits until the way out leads into its own guest, not into the one before', async () => {
  const led: unknown[] = []
  const lost = Promise.withResolvers<never>()
  const door: OpenDoor = {
    ...{ env: {}, files: [{ path: '/x', content: '', mode: 0o644 }], caPem: '', placeholders: {}, subject: {} },
    socketPath: '',
    lead: async (place) => void led.push(place.kind === 'guest' ? place.guest : undefined),
    close: async () => undefined,
  }
  const doors = new Doors({
    egress: { open: async () => door, leadHome: async () => door },
    self: 'self',
    artifacts: () => () => undefined,
    warn: () => undefined,
  })
  const before = { ...guest, files: { write: () => lost.promise } }
  const after = { ...guest }
  const first = doors.ready(boxOf('self'), before)
  await Promise.resolve()
  const second = doors.ready(boxOf('self'), after)
  await new Promise((resolve) => setTimeout(resolve, 5))
  lost.reject(new MeshError('E_SANDBOX_LOST', 'The sandbox is gone'))
  await Promise.all([first, second])
  expect(led).toEqual([after])
})
