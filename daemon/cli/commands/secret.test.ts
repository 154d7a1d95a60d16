import { PassThrough } from 'node:stream'
import { expect, it } from 'vitest'
import { cliContext } from '../../../test/support/cli-context.ts'
import { set } from './secret.ts'

const nothing = (): void => undefined

it('a secret that is typed or pasted is kept as it is, whatever pieces it comes in', async () => {
  const kept: string[] = []
  const mesh = { secrets: { set: (_: string, value: string) => Promise.resolve(void kept.push(value)) } }
  const stdin = new PassThrough()
  const tty = { size: () => ({ columns: 80, rows: 24 }), raw: nothing, onResize: () => nothing }
  const context = cliContext({ mesh, io: { stdin, columns: 80, interactive: true, tty } })
  const told = set(context, 'pin')
  const bytes = Buffer.from('naïve🔑\u007f!\r')
  for (const byte of bytes) stdin.write(Buffer.of(byte))
  await told
  expect(kept).toEqual(['naïve!'])
})
