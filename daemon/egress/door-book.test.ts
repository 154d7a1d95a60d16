import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { DoorBook } from './door-book.ts'
import { StoredPolicy } from './policy-store.ts'
import type { ProxyProcess } from './proxy-process.ts'
import { SealedSecrets } from './secret-store.ts'

it('opens no door again that was closed while others were', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'mh-doors-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const open = new Set<string>()
  let onOpen = async (): Promise<unknown> => undefined
  // As one that does what it is told
  const ask: ProxyProcess['ask'] = async (request) => {
    if (request.type === 'open') {
      await onOpen()
      open.add(request.settings.door)
      return 'a certificate'
    }
    if (request.type === 'close') open.delete(request.door)
    return undefined
  }
  const book = new DoorBook({
    proxy: { ask, running: true } as unknown as ProxyProcess,
    policy: await StoredPolicy.open(join(folder, 'rules.json')),
    secrets: await SealedSecrets.open({ secretsFile: join(folder, 's.json'), keyFile: join(folder, 's.key') }),
    folder,
    trustedCas: [],
    onTrouble: () => undefined,
  })
  const [first, second, third] = [await book.open({}, {}), await book.open({}, {}), await book.open({}, {})]
  open.clear()
  // While the first is being opened again, it and the second are closed
  onOpen = async () => {
    onOpen = async () => undefined
    await Promise.all([book.close(first), book.close(second)])
  }
  await book.reopen()
  expect([...open]).toEqual([third.id])
})
