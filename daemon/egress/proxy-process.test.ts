import { expect, it, vi } from 'vitest'
import { ProxyProcess } from './proxy-process.ts'

const init = {
  settings: { uplinkPath: '/nowhere' },
  onNotice: () => undefined,
  onRestart: () => Promise.resolve(),
  onTrouble: () => undefined,
}

it('leaves no process behind when it is closed while it starts', async () => {
  const proxy = new ProxyProcess(init)
  const starting = proxy.start().then(
    () => undefined,
    (error: unknown) => error,
  )
  await proxy.close()
  expect(await starting).toMatchObject({ code: 'E_STOPPING' })
  await vi.waitFor(() => expect(proxy.running).toBe(false))
})
